"""What Slurm, the script and the launchers print of a job's end."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

CANCELLED: Family = {
    "cancelled": phrases(
        "CANCELLED AT ",
        confirmed=r"\*\*\* JOB \d+ ON \S+ CANCELLED AT [-\d:T]+ \*\*\*",
        anywhere=True,
    )
}
NODE_FAILURE: Family = {
    "node_failure": phrases(
        "DUE TO NODE FAILURE",
        "Node failure on ",
        "Communication connection failure",
        anywhere=True,
    )
}
PREEMPTED: Family = {"preempted": phrases("DUE TO PREEMPTION", anywhere=True)}
TIME_LIMIT: Family = {"time_limit": phrases("DUE TO TIME LIMIT", anywhere=True)}
NOT_LAUNCHED: Family = {
    "not_launched": phrases(
        "Task launch for ", "timeout waiting for task launch",
        confirmed=r"srun: error: (?:Task launch for \S+ failed on node \S+: |timeout waiting)",
    ),
    "not_set_up": phrases(
        "container_p_join: ", "container_g_join failed", "Slurmd could not ", "task_g_pre_launch",
        "nable to create cgroup", "nable to add pids to", "xcgroup_", "slurm_script: No such file",
        "TaskProlog failed",
        confirmed=r"^(?: *\d+: )?slurmstepd\S*: error: ",
    ),
}  # fmt: skip
NO_CONTROLLER: Family = {
    "no_controller": phrases(
        "Unable to contact slurm controller", "Socket timed out on send/recv operation",
        "Zero Bytes were transmitted or received",
        confirmed=r"^(?:\S+: )*(?:srun|sbatch|salloc|slurmstepd\S*): (?:error|fatal): ",
    )
}  # fmt: skip
WAITED: Family = {
    "step_waited": phrases("step creation still disabled, retrying", latest=True, anywhere=True)
}
"""srun waits for what other steps of the job hold."""
CONTAINER: Family = {
    "container": phrases(
        "container creation failed", "could not open image ", "unable to open image",
        "enroot-nsenter: ", "enroot-mount: ", "enroot-switchroot: ",
        "ailed to create user namespace", "nvidia-container-cli: ",
        "ailed to create container process", "toomanyrequests: ",
        confirmed=r"(?m)FATAL: |ERROR *: |pyxis: +|^(?:\[\w+\] )?enroot-",
    )
}  # fmt: skip
NOT_SHARED: Family = {"not_shared": phrases("must be on shared storage")}
NO_MODULE: Family = {
    "no_module": phrases(
        "Unable to locate a modulefile", "module(s) are unknown", "Lmod has detected"
    )
}
NO_ENVIRONMENT: Family = {
    "no_command": phrases(
        ": command not found", ": not found", "activate: No such file or directory",
        "no Python environment in", "error: execve(): ", "bad interpreter",
        "/usr/bin/env: ", ": No such file or directory",
        confirmed=r"(?m)(?:not found\s*$|activate: No such|no Python env|execve|bad interp"
        r"|bin/env|: line \d+: .*: No such file)",
        anywhere=True,
    )
}  # fmt: skip
NOT_ACTIVE: Family = {
    "not_active": phrases(
        "bin/activate: No such file", "Run 'conda init' before", "EnvironmentNameNotFound",
        "EnvironmentLocationNotFound", "Could not find conda environment",
        "conda: command not found", "mamba: command not found", "not a conda environment",
        "not been properly configured to use 'conda activate'", anywhere=True,
    )
}  # fmt: skip
NO_PMI: Family = {
    "no_pmi": phrases(
        "Could not find PMI server", "PMI server not found", "built with SLURM's PMI support",
        "PMI2_Init failed", "PMI_Init failed", "I_MPI_PMI_LIBRARY is not set",
    )
}  # fmt: skip
TASK_KILLED: Family = {
    "task_killed": phrases(
        "srun: error: ", ": line ", "exits with return code = -", "noticed that process rank ",
        latest=True,
        confirmed=r"(?:srun: error: \S+: tasks? [\d,-]+:|: line \d+: +\d+) "
        r"(?:Killed|Segm|Bus error|Aborted)|sigkill_handler\] .* return code = -\d"
        r"|(?:mpi|prte?)run noticed that process rank \d+ .*exited on signal",
        anywhere=True,
    )
}  # fmt: skip
STEP_REFUSED: Family = {
    "step_refused": phrases(
        "Unable to create step for job",
        confirmed=r"^(?:\S+: )*srun: error: Unable to create step.*(?:More processors"
        r"|Requested node config|cpu bind|Memory required|Invalid generic resource"
        r"|Node count|Invalid Trackable)",
    )
}  # fmt: skip
SIGNALLED: Family = {"signalled": phrases("DUE to SIGNAL", "DUE TO SIGNAL")}
NO_ALLOCATION: Family = {
    "no_allocation": phrases(
        "Unable to allocate resources", confirmed=r"^(?:\S+: )*srun: error: Unable to allocate"
    )
}
NO_REPOSITORY: Family = {
    "no_repository": phrases("Could not read from remote repository", "detected dubious ownership")
}
NO_SSH: Family = {
    "no_ssh": phrases(
        "Host key verification failed",
        "Permission denied (publickey",
        "ssh exited with exit code",
        confirmed=r"(?m)^(?!.*(?:git@|github|gitlab))",
    )
}
TWO_MEMORIES: Family = {
    "two_memories": phrases(
        "mutually exclusive", confirmed=r"^(?:\S+: )*(?:srun|sbatch): (?:fatal|error): .*MEM_PER"
    )
}
NO_PYXIS: Family = {
    "no_pyxis": phrases(
        "unrecognized option '--container-", "unrecognized option '--no-container-",
        confirmed=r"^(?:\S+: )*srun: ",
    )
}  # fmt: skip
SCRIPT: Family = {
    "script": phrases(
        "hpclaunch: ", "sbatch: ", "bash: ", "srun: ", "slurmstepd", "FATAL: ",
        "unbound variable", "unexpected EOF while looking", "syntax error",
        "bad substitution", "$'\\r': command", latest=True,
        confirmed=r"(?m)^(?: *\d+: )?(?:hpclaunch|sbatch|bash|srun|slurmstepd\S*|FATAL): "
        r"|^\S+: line \d+: .*(?:unbound variable|unexpected EOF|syntax error"
        r"|bad substitution|\\r': command)",
        anywhere=True,
    )
}  # fmt: skip
ROOT: Family = {
    "root": phrases("Root Cause (first observed", anywhere=True),
    "exited": phrases("failed (exitcode: ", anywhere=True),
    "enqueued": phrases("last enqueued ", confirmed=r"last enqueued (?:NCCL )?work", anywhere=True),
}
"""Lines that are no cause, but show which rank it began with."""
