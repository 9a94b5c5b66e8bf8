"""What PyTorch, Slurm, NCCL and the hub's client said when these things happened, cut short.

Taken from runs on two ranks over gloo and on a cluster of two nodes, each trouble brought about;
the texts of GPUs, NCCL and the kernel's memory killer are those that users report of real machines.
"""
# ruff: noqa: E501  # lines as they were said

SITE = "/home/ada/venv/lib/python3.11/site-packages/"

LAUNCHER = """\
{node}: W1121 03:36:48.062000 408 torch/distributed/elastic/multiprocessing/api.py:1028] Sending \
process 453 closing signal SIGTERM
{node}: E1121 03:36:48.161000 408 torch/distributed/elastic/multiprocessing/api.py:1002] failed \
(exitcode: {code}) local_rank: {local} (pid: 452) of binary: /home/ada/venv/bin/python
{node}: Traceback (most recent call last):
{node}:   File "/home/ada/venv/bin/accelerate", line 6, in <module>
{node}:     sys.exit(main())
{node}: torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
{node}: Root Cause (first observed failure):
{node}: [0]:
{node}:   time      : 2026-11-21_03:36:47
{node}:   host      : {host}
{node}:   rank      : {rank} (local_rank: {local})
{node}:   exitcode  : {code} (pid: 452)
{node}:   error_file: <N/A>
"""

KILLED_BY_SRUN = """\
srun: error: node2: task 1: Exited with exit code 1
srun: launch/slurm: _step_signal: Terminating StepId=8.1
0: slurmstepd-node1: error: *** STEP 8.1 ON node1 CANCELLED AT 2026-11-21T03:36:49 ***
0: W1121 03:36:49.979000 1306 torch/distributed/elastic/agent/server/api.py:753] Received 15 death \
signal, shutting down workers
0: torch.distributed.elastic.multiprocessing.api.SignalException: Process 1306 got signal: 15
srun: error: node1: task 0: Exited with exit code 1
"""

CANCELLED = """\
srun: Job step aborted: Waiting up to 7 seconds for job step to finish.
srun: got SIGCONT
0: slurmstepd-node1: error: *** STEP 4.1 ON node1 CANCELLED AT 2026-11-21T03:36:44 ***
slurmstepd-node1: error: *** JOB 4 ON node1 CANCELLED AT 2026-11-21T03:36:44 ***
1: torch.distributed.elastic.multiprocessing.api.SignalException: Process 301 got signal: 15
"""

NODE_FAILURE = """\
srun: error: Node failure on node2
1: W1121 03:36:58.683000 284 torch/distributed/elastic/agent/server/api.py:753] Received 15 death \
signal, shutting down workers
slurmstepd-node1: error: *** JOB 6 ON node1 CANCELLED AT 2026-11-21T03:36:58 DUE TO NODE FAILURE, \
SEE SLURMCTLD LOG FOR DETAILS ***
0: torch.distributed.elastic.multiprocessing.api.SignalException: Process 264 got signal: 15
srun: error: node2: task 1: Exited with exit code 1
"""

TIME_LIMIT = """\
0: slurmstepd-node1: error: *** STEP 12.1 ON node1 CANCELLED AT 2026-11-21T03:38:28 DUE TO TIME \
LIMIT ***
slurmstepd-node1: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-21T03:38:28 DUE TO TIME LIMIT ***
0: torch.distributed.elastic.multiprocessing.api.SignalException: Process 1104 got signal: 15
"""

PREEMPTED = """\
slurmstepd-node1: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-21T03:38:28 DUE TO PREEMPTION ***
"""

REQUEUED = """\
slurmstepd-node1: error: *** JOB 12 ON node1 CANCELLED AT 2026-11-21T03:38:28 DUE TO JOB REQUEUE ***
"""

OOM_KILL = """\
slurmstepd: error: Detected 1 oom_kill event in StepId=440575.0. Some of the step tasks have been OOM \
Killed.
srun: error: node2: task 1: Out Of Memory
srun: Terminating StepId=440575.0
"""

GPU_OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 1 has a total "
    "capacity of 39.39 GiB of which 1.06 GiB is free. Including non-PyTorch memory, this process "
    "has 38.32 GiB memory in use. Of the allocated memory 36.90 GiB is allocated by PyTorch, and "
    "430.21 MiB is reserved by PyTorch but unallocated."
)
OLD_GPU_OOM = (
    "RuntimeError: CUDA out of memory. Tried to allocate 512.00 MiB (GPU 0; 15.90 GiB total "
    "capacity; 13.13 GiB already allocated; 415.88 MiB free; 14.80 GiB reserved in total by PyTorch)"
)

WATCHDOG = (
    "[rank{rank}]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank {rank}] Watchdog caught "
    "collective operation timeout: WorkNCCL(SeqNum={number}, OpType=_REDUCE_SCATTER_BASE, "
    "NumelIn=544997376, NumelOut=68124672, Timeout(ms)=600000) ran for 600061 milliseconds before "
    "timing out."
)
ENQUEUED = (
    "[rank{rank}]:[E321 02:07:08.465150152 ProcessGroupNCCL.cpp:1664] [PG ID 0 PG GUID 0 Rank {rank}]"
    " Exception (either an error or timeout) detected by watchdog at work: {number}, last enqueued "
    "NCCL work: {last}, last completed NCCL work: {number}."
)

GLOO = "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/"
PEER_CLOSED = (
    f"{GLOO}pair.cc:553] Connection closed by peer [10.0.0.7]:4524. This is typically caused by a "
    "remote worker crashing. Check the logs of the remote worker before reporting an error."
)
PEER_RESET = (
    f"{GLOO}pair.cc:537] Read error [127.0.0.1]:6376: Connection reset by peer. This is typically "
    "caused by a remote worker hanging or bugs in the application."
)
GLOO_TIMEOUT = (
    f"{GLOO}unbound_buffer.cc:78] Timed out waiting 6000ms for recv operation to complete"
)
BARRIER = "RuntimeError: [Rank 0]: Rank 3 failed to pass monitoredBarrier in 3000 ms"
NEVER_CAME = (
    "torch.distributed.DistStoreError: wait timeout after 4000ms, keys: /default_pg/0//cpu//0/2"
)

PORT_TAKEN = (
    "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network "
    "address. port: 31999, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in "
    "use"
)
DISK_FULL = "OSError: [Errno 28] No space left on device: '/scratch/ada/runs/x/a.pt'"
SAFETENSORS_FULL = (
    "safetensors._safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left "
    "on device (os error 28)"
)
TORN_WRITE = "RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"
QUOTA = "OSError: [Errno 122] Disk quota exceeded: '/home/ada/runs/x'"
CHECKPOINT = f"""\
[rank{{rank}}]: Traceback (most recent call last):
[rank{{rank}}]:   File "{SITE}torch/distributed/checkpoint/utils.py", line 254, in all_reduce
[rank{{rank}}]:     raise final_result
[rank{{rank}}]: torch.distributed.checkpoint.api.CheckpointException: CheckpointException \
ranks:dict_keys([0])
[rank{{rank}}]: Traceback (most recent call last): (RANK 0)
[rank{{rank}}]:     with path.open(mode) as stream:
[rank{{rank}}]: OSError: [Errno 28] No space left on device
"""

GATED = (
    "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-6)\n\nCannot access "
    "gated repo for url https://huggingface.co/meta-llama/Meta-Llama-3-8B/resolve/main/config.json."
)
UNKNOWN_REPOSITORY = (
    "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1-6)\n\n"
    "Repository Not Found for url: https://huggingface.co/api/models/ada/gone."
)
GATED_DATA = (
    "datasets.exceptions.DatasetNotFoundError: Dataset 'ada/secrets' is a gated dataset on the Hub. "
    "You must be authenticated to access it."
)
NO_MODEL = (
    "OSError: ada/no-such-model is not a local folder and is not a valid model identifier listed on "
    "'https://huggingface.co/models'"
)
OFFLINE = (
    '    AutoModelForCausalLM.from_pretrained("ada/kept-elsewhere")\n'
    "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find "
    "them in the cached files.\nCheck your internet connection or see how to run the library in "
    "offline mode at 'https://huggingface.co/docs/transformers/installation#offline-mode'."
)
HOST_ALLOCATION = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
NO_CUDA = "AssertionError: Torch not compiled with CUDA enabled"
OLD_DRIVER = (
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update "
    "your GPU driver by downloading and installing a new version."
)
NO_KERNEL = (
    "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device"
)
DEVICE_ASSERT = "torch.AcceleratorError: CUDA error: device-side assert triggered"
XID = "[ 812.3] NVRM: Xid (PCI:0000:65:00): 79, pid='<unknown>', GPU has fallen off the bus."
