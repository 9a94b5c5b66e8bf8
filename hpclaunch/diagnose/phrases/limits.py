"""What is printed where memory, or another limit of the node, gave out."""

from __future__ import annotations

from hpclaunch.diagnose.phrases import Family, phrases

LOCKED_MEMORY: Family = {
    "locked_memory": phrases(
        "ibv_create_cq failed", "ibv_create_qp failed", "ibv_reg_mr failed",
        "ibv_create_srq failed", "ibv_reg_mr_iova2 failed", "ibv_alloc_pd failed",
        "ibv_reg_dmabuf_mr failed", "max locked memory", "ibv_create_cq() failed",
        "ibv_reg_mr() failed",
        confirmed=r"(?m)Cannot allocate memory|failed *$|max locked memory",
    ),
    "locked_limit": phrases("RLIMIT_MEMLOCK", "locked memory limit"),
}  # fmt: skip
SHARED_MEMORY: Family = {
    "shared_memory": phrases(
        "insufficient shared memory", "out of shared memory", "shared memory segment /dev/shm",
        "failed to extend /dev/shm", "unable to open shared memory object", "'/dev/shm/",
        "unable to write to file </torch", "unable to mmap ", "unable to allocate shared memory",
        "creating shared memory segment", "posix_fallocate failed", "unable to resize file </torch",
        "Can't open SHM",
        confirmed=r"shm\b|open SHM|shared memory|/torch_|posix_fallocate",
    )
}  # fmt: skip
PROCESS_LIMIT: Family = {
    "process_limit": phrases(
        "can't start new thread", "RLIMIT_NPROC", "Thread creation failed",
        "Resource temporarily unavailable", "fork: retry",
        confirmed=r"(?m)^(?!.*lock file)(?=.*(?:[Tt]hread|fork|NPROC|Errno 11|BlockingIOError))",
    )
}  # fmt: skip
OPEN_FILES: Family = {
    "open_files": phrases("Too many open files", "received 0 items of ancdata", "os error 24)")
}
HOST_MEMORY: Family = {
    "host_oom": phrases(
        "oom_kill event", "oom-kill event", "Out Of Memory", "OOM Killed", "ut of memory: Kill",
        "exceeded memory limit", "Exceeded step memory limit",
        "Exceeded job memory limit", "killed due to the node running low on memory",
        "killed due to memory pressure (OOM)",
        confirmed=r"oom.kill event|(?:task|step|job).*Out Of Memory|OOM Killed|: Kill"
        r"|xceeded (?:step |job )?memory limit|running low on memory|memory pressure \(OOM\)",
        anywhere=True,
    ),
    "host_alloc": phrases(
        "DefaultCPUAllocator: can't allocate memory", "Cannot allocate memory", "MemoryError",
        "std::bad_alloc", "Unable to allocate ",
        confirmed=r"(?m)^(?!.*ibv_)(?=.*(?:allocate memory|\b(?:_?Array|Arrow)?MemoryError\b"
        r"|std::bad_alloc|Unable to allocate .* array))",
    ),
    "worker_killed": phrases(
        "is killed by signal: Killed", "died with <Signals.SIGKILL",
        "terminated with signal SIGKILL", "returned non-zero exit status -9",
        "returned non-zero exit status 137",
    ),
    "worker_gone": phrases(
        ") exited unexpectedly", "has abruptly died during map", "terminated abruptly while",
    ),
}  # fmt: skip
