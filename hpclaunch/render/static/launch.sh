# launch.sh, version 11 (raise it with every change; tests/render holds its checksum):
# what every job of hpclaunch does around its training. The same file for every job.
# shellcheck shell=bash
#
# job.sbatch sources it as `source launch.sh slurm` (or `local`: bash on this machine). Until `begin` it
# does nothing but leave the exit code where the environment cannot be loaded, and refuse the script of a
# copied folder. Then, in this order:
#   require_python FOLDER         end the job where FOLDER has no Python any more
#   begin [--nodes N] [--max-restarts N] [--own-program] [--notify]   strict mode, signals, this attempt's mark;
#                                 --nodes: the first N of an allocation that has more
#   on_head_node [SRUN OPTION ...] COMMAND ...    run once, on the first node, and wait
#   choose_port [--port N] [--suffix TEXT]        HPCLAUNCH_HEAD, HPCLAUNCH_PORT
#   in_background COMMAND ...     the sidecar: ended with the job; if it fails, the job goes on
#   serve [--minutes N] [--suffix TEXT] [SRUN OPTION ...] COMMAND ...   the server on the last node:
#                                 HPCLAUNCH_SERVER and its _PORT, once it answers; the job ends with it, and it
#                                 with the job
#   train COMMAND ...             run, pass a stop on, wait to the very end
#   finish                        into the queue again where that gets further; exit with the training's code

launch_mode=${1:?source it as: source launch.sh slurm}

# The script of a copied folder names the folder that it was copied from, and would write there.
refuse_copy() {
    local script=${BASH_SOURCE[-1]} folder message
    # Slurm runs the script from its spool, and knows which one was submitted.
    if [ "$launch_mode" = slurm ] && [ ! -e "$(dirname -- "$script")/run.json" ]; then
        script=$(scontrol show job "$SLURM_JOB_ID" 2>/dev/null | sed -n 's/^ *Command=//p')
    fi
    folder=$(cd -- "$(dirname -- "$script")" 2>/dev/null && pwd) || return 0
    if [ ! -e "$folder/run.json" ] || [ "$folder" -ef "$HPCLAUNCH_RUN" ]; then return 0; fi
    message="hpclaunch: $script is a copy of $HPCLAUNCH_RUN/job.sbatch, and would run there; go on in the copy with: hpclaunch resume $folder"
    echo "$message" >&2
    if [ "$launch_mode" = slurm ]; then  # the header names the other folder's logs, too
        echo "$message" >>"$folder/logs/job-$SLURM_JOB_ID.out" && rm -f "$HPCLAUNCH_RUN/logs/job-$SLURM_JOB_ID.out"
    fi
    return 1
}
refuse_copy || exit 2

if [ "$launch_mode" = slurm ]; then
    # A task of a job array is named ARRAY_TASK: one of them has the array's own number, and Slurm's commands
    # take that for all of them.
    job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
    job=${job:-$SLURM_JOB_ID}
    # Where Slurm loses a node, this job may begin again while an earlier attempt lives on, cut off: an
    # attempt that does not find its own mark in the run folder any more must write nothing.
    export HPCLAUNCH_START=$job.${SLURM_RESTART_COUNT:-0}
else
    unset HPCLAUNCH_START  # that of a job around this one
fi
trap at_exit_before_begin EXIT
# Slurm may send its notice before `begin` is ready for it, and without a trap it ends the script.
early_notice=
trap 'early_notice=yes' USR1

# A batch shell is no login shell: where `module` is not known, the files that define it are read.
if ! type module >/dev/null 2>&1; then
    module() {
        local file
        unset -f module
        for file in /etc/profile.d/*mod*.sh; do
            # shellcheck disable=SC1090  # the site's own
            [ ! -r "$file" ] || source "$file"
        done
        module "$@"
    }
fi

require_python() {  # without it, `python` would be another one
    [ -x "$1/bin/python" ] || [ -x "$1/bin/python3" ] || {
        echo "hpclaunch: no Python environment in $1 on $(hostname); make it anew, or name another by --venv" >&2
        exit 1
    }
}

begin() {
    set -euo pipefail
    local trainer=yes first=
    max_restarts=0
    notify=             # tell the user's webhook how it ended
    requeue=            # why the job goes back into the queue
    sidecar=            # its pid, and the signal that ends it
    sidecar_signal=TERM
    server=             # pid of what waits for the server
    server_gone=        # it ended before the training
    running=            # pid of the command that is waited for
    stops=0             # SIGTERM and SIGINT so far
    woken=0             # signals so far
    code=0              # of the training
    while [ $# -gt 0 ]; do
        case $1 in
        --nodes) first=$2 && shift 2 ;;
        --max-restarts) max_restarts=$2 && shift 2 ;;
        --own-program) trainer= && shift ;;
        --notify) notify=yes && shift ;;
        *) echo "launch.sh: begin does not know $1" >&2 && exit 2 ;;
        esac
    done
    unset SLURM_JWT  # it was for the submission; the program has no use for it
    refuse_second_job || { trap - EXIT && exit 2; }
    mkdir -p "$HPCLAUNCH_RUN/logs" "$HPCLAUNCH_RUN/metrics"
    [ "$max_restarts" -eq 0 ] || continue_attempt
    mark_attempt
    trap at_exit EXIT
    [ "$launch_mode" = local ] || echo "hpclaunch: job $job, attempt $((${SLURM_RESTART_COUNT:-0} + 1))"
    # What an earlier attempt left.
    rm -f "$HPCLAUNCH_RUN"/{exit_code,stop,cancelled,logs/first-failed-node}
    cd "$HPCLAUNCH_RUN"
    trap stop_running TERM INT
    export HPCLAUNCH_ENDS=
    if [ -n "$trainer" ]; then
        [ "$launch_mode" = local ] || find_end
        trap notice USR1
        [ -z "$early_notice" ] || notice
    else
        trap - USR1
    fi
    head=$(hostname)
    nodes=$head
    if [ "$launch_mode" = slurm ]; then
        nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -xE '[[:alnum:]._-]+') || nodes=  # no greeting
        [ -z "$first" ] || nodes=$(head -n "$first" <<<"$nodes")
        head=${nodes%%$'\n'*}
        : "${head:?the job has no nodes}"
    fi
    printf '%s\n' "$nodes" >"$HPCLAUNCH_RUN/logs/nodes"
}

refuse_second_job() {  # two jobs in one run folder would write over each other's checkpoints
    local other
    if [ "$launch_mode" = slurm ] && [ -r "$HPCLAUNCH_RUN/job_id" ] &&
        read -r other <"$HPCLAUNCH_RUN/job_id" && [ "$other" != "$job" ] &&
        squeue --noheader --jobs "$other" --states=RUNNING,COMPLETING --format=%i 2>/dev/null | grep -qx "$other"; then
        echo "hpclaunch: job $other is at work in $HPCLAUNCH_RUN; cancel it first, or copy the folder" >&2
        return 1
    fi
}

mark_attempt() {
    [ "$launch_mode" = slurm ] || return 0
    echo "$job" >"$HPCLAUNCH_RUN/job_id"
    echo "$HPCLAUNCH_START" >"$HPCLAUNCH_RUN/start"
}

ours() { [ "$launch_mode" = local ] || [ "$(cat "$HPCLAUNCH_RUN/start" 2>/dev/null)" = "$HPCLAUNCH_START" ]; }

restarts_used_up() {
    echo "hpclaunch: restarted $max_restarts times (--max-restarts); go on with: hpclaunch resume $(basename "$HPCLAUNCH_RUN")" >&2
}

continue_attempt() {  # Slurm itself requeues a job whose node it lost, whatever the restarts so far
    if [ "${SLURM_RESTART_COUNT:-0}" -gt "$max_restarts" ]; then
        restarts_used_up
        exit 1
    elif [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
        # An attempt that lost its node could not record why it ended. If a node that failed twice is
        # among these, the job goes back into the queue here, and Slurm ends this script.
        trap - EXIT
        # shellcheck disable=SC2046  # one word a node
        python -P -m hpclaunch.requeue "$HPCLAUNCH_RUN" again $(scontrol show hostnames "$SLURM_JOB_NODELIST") || :
        trap at_exit_before_begin EXIT
    fi
}

find_end() {  # HPCLAUNCH_ENDS: when this allocation ends, in Unix seconds; empty where Slurm sets no limit
    local i left hours
    for ((i = 0; i < 3; i++)); do
        [ "$i" -eq 0 ] || sleep 5  # a busy controller may not answer at once
        left=$(squeue --noheader --job "$job" --format=%L 2>/dev/null | grep -xE '[0-9:-]+|[A-Z_]+') || left=
        if [[ ${SLURM_JOB_END_TIME:-} =~ ^[0-9]+$ ]]; then
            HPCLAUNCH_ENDS=$SLURM_JOB_END_TIME  # from Slurm 23.02 on
        elif [[ $left =~ ^(([0-9]+)-)?(([0-9]+):)?([0-9]+):([0-9]+)$ ]]; then
            hours=$((10#${BASH_REMATCH[2]:-0} * 24 + 10#${BASH_REMATCH[4]:-0}))
            HPCLAUNCH_ENDS=$(($(date +%s) + (hours * 60 + 10#${BASH_REMATCH[5]}) * 60 + 10#${BASH_REMATCH[6]}))
        fi
        [ -z "$HPCLAUNCH_ENDS$left" ] || break
    done
}

# USR1. Near the time limit the trainer stops by its own measured step and checkpoint times. Long
# before it, USR1 is the notice of a preemption: stop at the end of the step, with a checkpoint.
# The time line of both is in hpclaunch/run/stop_timing.py.
time_limit_signal_seconds=200
notice() {
    woken=$((woken + 1))
    if [ -z "$HPCLAUNCH_ENDS" ] || [ $((HPCLAUNCH_ENDS - $(date +%s))) -gt "$time_limit_signal_seconds" ]; then
        echo preempted >"$HPCLAUNCH_RUN/stop"
    fi
}

stop_running() {
    stops=$((stops + 1)) woken=$((woken + 1))
    [ -z "$running" ] || kill -TERM "$running" 2>/dev/null || :
}

# What takes long runs in the background and is waited for: a trap runs only between commands.
attend() {  # waits for process $1 to its very end, passes a stop on to it, returns its own exit code
    running=$1
    [ "$stops" -eq 0 ] || kill -TERM "$running" 2>/dev/null || :
    local status before=-1
    # A wait that a signal broke off returns 128 + signal, whatever the process ends with later.
    while [ "$woken" -ne "$before" ]; do
        before=$woken status=0
        wait "$running" || status=$?
    done
    running=
    return "$status"
}

on_head_node() {
    local -a options=()
    while [[ $1 == --* ]]; do
        options+=("$1") && shift
    done
    if [ "$launch_mode" = slurm ]; then
        set -- srun --overlap --export=ALL --nodes=1 --ntasks=1 "${options[@]}" --nodelist="$head" "$@"
    fi
    "$@" &
    attend $!
    [ "$stops" -eq 0 ] || exit 143
}

choose_port() {
    local port='' suffix='' count
    while [ $# -gt 0 ]; do
        case $1 in
        --port) port=$2 && shift 2 ;;
        --suffix) suffix=$2 && shift 2 ;;
        *) echo "launch.sh: choose_port does not know $1" >&2 && exit 2 ;;
        esac
    done
    if [ "$launch_mode" = local ]; then
        export HPCLAUNCH_HEAD=127.0.0.1 HPCLAUNCH_PORT=${port:-$((10000 + $$ % 22000))}
        # The ranks talk over loopback alone; the store that they meet at, too (hpclaunch.train.loopback).
        export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-lo} NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-=lo}
        while (exec 3<>"/dev/tcp/127.0.0.1/$HPCLAUNCH_PORT") 2>/dev/null; do  # somebody listens
            HPCLAUNCH_PORT=$((HPCLAUNCH_PORT + 1))
        done
        return
    fi
    # Every node meets at the first one. No fallback to localhost: that would make separate jobs of one
    # node each, training on their own, and no error.
    export HPCLAUNCH_HEAD=$head$suffix HPCLAUNCH_PORT
    # One step on all nodes: is the run folder there, and which port of the first is free now? From the
    # job id, so that jobs sharing a node differ; below 32768, where the kernel takes ports for clients.
    # A site's own greeting may come before, between and after the lines.
    count=$(wc -l <"$HPCLAUNCH_RUN/logs/nodes")
    # shellcheck disable=SC2016  # the nodes expand it
    HPCLAUNCH_PORT=$(srun --overlap --export=ALL --relative=0 --nodes="$count" --ntasks="$count" --ntasks-per-node=1 \
        --cpus-per-task=1 --kill-on-bad-exit=1 bash -c '
        [ -r "$HPCLAUNCH_RUN/node.sh" ] || {
            echo "hpclaunch: $HPCLAUNCH_RUN is not on $(hostname): --runs-dir must be on shared storage" >&2
            exit 1
        }
        [ "$SLURM_NODEID" -eq 0 ] || exit 0
        for ((i = 0; i < 100; i++)); do
            port=$((10000 + ($1 - 10000 + i * 101) % 22000))
            # 0A: somebody listens, on whatever address of this node.
            row=$(printf "^ *[0-9]+: [0-9A-F]+:%04X [0-9A-F:]+ 0A " "$port")
            grep -qsE "$row" /proc/net/tcp /proc/net/tcp6 || { echo "hpclaunch-port $port"; exit 0; }
        done
        echo "hpclaunch: no free port on $(hostname)" >&2
        exit 1
        ' port "${port:-$((10000 + SLURM_JOB_ID % 22000))}" | sed -n 's/^hpclaunch-port //p') || exit 1
    # (1, whatever srun returned: it may be the code of a node that it ended itself.)
    [ -n "$HPCLAUNCH_PORT" ] || { echo "hpclaunch: no port from $head" >&2 && exit 1; }
}

in_background() {
    # srun passes USR2 on; at a TERM it kills its tasks before they can close their files.
    [ "$1" = srun ] && sidecar_signal=USR2 || sidecar_signal=TERM
    "$@" >>"$HPCLAUNCH_RUN/logs/sidecar.log" 2>&1 &
    sidecar=$!
}

serve() {
    local minutes=20 suffix='' node ends
    local -a options=()
    while [[ $1 == --* ]]; do
        case $1 in
        --minutes) minutes=$2 && shift 2 ;;
        --suffix) suffix=$2 && shift 2 ;;
        *) options+=("$1") && shift ;;  # of srun
        esac
    done
    node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -xE '[[:alnum:]._-]+' | tail -n 1)
    # Not the ranks' port: another job of this user may share the node.
    export HPCLAUNCH_SERVER=$node$suffix HPCLAUNCH_SERVER_PORT=$((10000 + (SLURM_JOB_ID + 11003) % 22000))
    rm -f "$HPCLAUNCH_RUN/logs/server-exit"
    echo "$node" >>"$HPCLAUNCH_RUN/logs/server-nodes"  # of each attempt; the newest last
    trap server_lost USR2
    echo "hpclaunch: starting the server on $node (logs/server.log)"
    keep_server srun --overlap --export=ALL --nodes=1 --ntasks=1 "${options[@]}" --nodelist="$node" "$@" &
    server=$!
    ends=$(($(date +%s) + minutes * 60))
    until server_answers; do
        [ "$stops" -eq 0 ] || exit 143
        if [ -n "$server_gone" ]; then
            echo "hpclaunch: the server ended before it answered; see logs/server.log" >&2
            exit 1
        elif [ "$(date +%s)" -ge "$ends" ]; then
            echo "no answer within $minutes minutes" >"$HPCLAUNCH_RUN/logs/server-exit"
            echo "hpclaunch: the server did not answer within $minutes minutes; see logs/server.log" >&2
            exit 1
        fi
        sleep 2
    done
    echo "hpclaunch: the server answers at $HPCLAUNCH_SERVER:$HPCLAUNCH_SERVER_PORT"
}

keep_server() {  # in the background: its end is the job's, unless the job ends it
    local status=0 ending='' child
    trap - EXIT
    trap '' INT USR1 USR2
    trap 'ending=yes; kill -TERM "$child" 2>/dev/null || :' TERM
    "$@" >>"$HPCLAUNCH_RUN/logs/server.log" 2>&1 &
    child=$!
    wait "$child" || status=$?
    if [ -n "$ending" ]; then
        wait "$child" || :
        exit 0
    fi
    echo "code $status" >"$HPCLAUNCH_RUN/logs/server-exit"
    kill -USR2 $$
}

server_answers() {
    # shellcheck disable=SC2016  # the inner shell expands it
    timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf "GET /health HTTP/1.0\r\nHost: %s\r\n\r\n" "$1" >&3 &&
        read -r line <&3 && [[ $line == *" 200"* ]]' health "$HPCLAUNCH_SERVER" "$HPCLAUNCH_SERVER_PORT" 2>/dev/null
}

server_lost() {
    woken=$((woken + 1)) server_gone=yes
    [ -z "$running" ] || echo "hpclaunch: the server has ended, and the training with it; see logs/server.log" >&2
    [ -z "$running" ] || kill -TERM "$running" 2>/dev/null || :
}

stop_server() {
    local i
    [ -z "$server_gone" ] || return 0  # bash would wait for ever for what ended in a signal's trap
    kill -TERM "$server" 2>/dev/null
    for ((i = 0; i < 100; i++)); do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.2
    done
    kill -KILL "$server" 2>/dev/null || :
}

train() {
    "$@" &
    attend $! || code=$?
    [ -z "$server_gone" ] || [ "$code" -ne 0 ] || code=1
    # srun returns the highest code of all nodes, often that of a node it ended itself; node.sh keeps
    # the first. The file can be empty: where the disk was full.
    if [ "$code" -ne 0 ] && [ -s "$HPCLAUNCH_RUN/logs/first-failed-node" ]; then
        read -r code _ <"$HPCLAUNCH_RUN/logs/first-failed-node"
    fi
}

finish() {
    [ "$max_restarts" -eq 0 ] || decide_requeue
    # The launcher's code (accelerate returns 1, whatever code a rank ended with): a script that ends
    # in anything else would report success.
    exit "$code"
}

# Stopped for the time limit or a preemption, or failed (a rank, a node, the network) after a new
# checkpoint: back into the queue, under the same job number. Not for a job that somebody cancels, and
# not after an attempt without a new checkpoint: the next would not get further either.
decide_requeue() {
    local paused='' further state
    if [ "$code" -eq 0 ] && grep -sqxE 'time limit|preempted' "$HPCLAUNCH_RUN/stop"; then
        paused=paused code=1
    fi
    if [ "$code" -eq 0 ] || [ "$stops" -gt 0 ] || ! ours || [ -e "$HPCLAUNCH_RUN/cancelled" ]; then
        return 0
    fi
    state=$(job_state)
    if [ -z "$state" ]; then
        echo "hpclaunch: Slurm does not say whether the job was cancelled, so it stays out of the queue; go on with: hpclaunch resume $(basename "$HPCLAUNCH_RUN")" >&2
    fi
    [ "$state" = RUNNING ] || return 0
    further=$(find "$HPCLAUNCH_RUN/checkpoints" -maxdepth 1 -name 'step-*' -newer "$HPCLAUNCH_RUN/job_id" 2>/dev/null) || :
    if [ -z "$further" ]; then
        [ -z "$paused" ] || echo "hpclaunch: no new checkpoint in this attempt; the next would not get further: ask for more --time" >&2
    elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$max_restarts" ]; then
        restarts_used_up
    else
        requeue=${paused:-failed $code}
        # On a full disk the message fails: no reason to stay out of the queue.
        [ -n "$paused" ] || echo "hpclaunch: failed with code $code after a new checkpoint; the next attempt resumes from it" >&2 || :
    fi
}

stop_sidecar() {  # by its pid: a bare `wait` would wait for ever
    local i
    kill "-$sidecar_signal" "$sidecar" 2>/dev/null
    for ((i = 0; i < 50; i++)); do
        kill -0 "$sidecar" 2>/dev/null || break
        sleep 0.2
    done
    kill -KILL "$sidecar" 2>/dev/null
    wait "$sidecar" 2>/dev/null
}

job_state() {  # as Slurm names it; a busy controller is asked again. A site's greeting is no state
    local i
    for ((i = 0; i < 3; i++)); do
        [ "$i" -eq 0 ] || sleep 5
        squeue --noheader --job "$job" --format=%T 2>/dev/null | grep -xE '[A-Z_]+' && return
    done
    return 0
}

requeued() {  # by Slurm itself: such a job has not ended
    [ "$launch_mode" = slurm ] && squeue --noheader --job "$job" --format=%T 2>/dev/null | grep -qx PENDING
}

keep_exit_code() {  # in the run folder, for clusters that forget their jobs or keep no accounts
    echo "$1" >"$HPCLAUNCH_RUN/.exit_code"
    mv "$HPCLAUNCH_RUN/.exit_code" "$HPCLAUNCH_RUN/exit_code"
}

at_exit_before_begin() {  # a module or the environment is not there
    local status=$?
    if requeued || ! refuse_second_job; then return; fi
    mark_attempt
    keep_exit_code "$status"
}

at_exit() {
    local status=$?
    set +e  # each step here is tried, whatever came of the one before
    trap '' TERM INT
    [ -z "$server" ] || stop_server
    [ -z "$sidecar" ] || stop_sidecar
    if [ -n "$requeue" ]; then
        # It does not return where Slurm requeues the job: Slurm ends this script then. A node that
        # failed twice is left out. Where it refuses, or cannot run, the job ends as stopped.
        # shellcheck disable=SC2086  # words
        python -P -m hpclaunch.requeue "$HPCLAUNCH_RUN" $requeue || { scontrol requeue "$job" && sleep 300; }
        echo "hpclaunch: Slurm does not requeue this job; go on with: hpclaunch resume $(basename "$HPCLAUNCH_RUN")" >&2
    fi
    ours || return  # a later attempt's folder is none of this one's
    if [ "$max_restarts" -gt 0 ] && [ "$stops" -gt 0 ] && requeued; then return; fi
    keep_exit_code "$status"
    # The last thing, and for some seconds at most, whatever the receiver does.
    [ -z "$notify" ] || timeout --signal=KILL 15 python -P -m hpclaunch.notify "$HPCLAUNCH_RUN" "$status" || :
}
