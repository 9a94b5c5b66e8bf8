#!/bin/bash
# node.sh, version 2 (raise it with every change; tests/render holds its checksum):
# runs on every node, in front of the launcher. The same file for every job.
#
#   bash node.sh [--gpus N] -- COMMAND ...
#
# Ends with the command's exit code, or 1 where the node lacks GPUs. Where it is not 0, the first node to fail
# writes `CODE NODE_NUMBER HOST` into logs/first-failed-node, before srun ends the others, whose codes hide its own.
set -eu

gpus=
while [ "${1:-}" != -- ]; do
    case ${1:-} in
    --gpus) gpus=$2 && shift 2 ;;
    *) echo "usage: bash node.sh [--gpus N] -- COMMAND ..." >&2 && exit 2 ;;
    esac
done
shift
attempt=${HPCLAUNCH_START:-}  # launch.sh sets it under Slurm

failed() {
    if [ -n "$attempt" ] && [ "$(cat "$HPCLAUNCH_RUN/start" 2>/dev/null)" = "$attempt" ]; then
        (set -o noclobber; echo "$1 $SLURM_NODEID $(hostname)" >"$HPCLAUNCH_RUN/logs/first-failed-node") 2>/dev/null || :
    fi
    exit "$1"
}

if [ -n "$gpus" ]; then
    # $SLURM_GPUS_PER_NODE may read "a100:4", or be unset: the number comes from the script.
    visible=${CUDA_VISIBLE_DEVICES:-}
    commas=${visible//[!,]/}
    count=$((${#commas} + 1))
    # On a machine of one's own there may be more than are used.
    if [ -n "$visible" ] && { [ "$count" -lt "$gpus" ] || { [ -n "$attempt" ] && [ "$count" -ne "$gpus" ]; }; }; then
        echo "hpclaunch: $(hostname) gives GPUs $visible, $gpus were asked for" >&2
        failed 1
    fi
    if [ -z "$visible" ] && command -v nvidia-smi >/dev/null && [ "$(nvidia-smi -L | grep -c ^GPU)" -lt "$gpus" ]; then
        echo "hpclaunch: $(hostname) has fewer GPUs than the $gpus asked for" >&2
        failed 1
    fi
fi

# On this machine there is one node, and signals must reach the launcher, not a shell in front of it.
[ -n "$attempt" ] || exec "$@"

trap : TERM INT USR1 USR2  # this shell stays until the launcher has ended, whatever signal both of them get
code=0
"$@" || code=$?
[ "$code" -eq 0 ] || failed "$code"
