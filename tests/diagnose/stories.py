"""What failed runs leave, a story each, and what `why` must say of it."""

from __future__ import annotations

from hpclaunch.diagnose.progress import Progress
from tests.diagnose import messages
from tests.diagnose.failed_runs import FailedRun, traceback

GLOO_LOST = traceback(messages.PEER_CLOSED)

STORIES: dict[str, tuple[FailedRun, str, int | None, str | None, str, str]] = {
    # name: what was left; its kind, rank, host, a part of the headline, a part of the advice
    "own exception": (
        FailedRun(ranks={3: traceback("my.pack.OddError: shard 7 is torn"), 0: GLOO_LOST},
             exits={3: 1, 0: 1}, first=1),
        "exception", 3, "node2", "my.pack.OddError: shard 7 is torn", "logs tiny-1 --rank 3",
    ),
    "the lost peer was seen first": (
        FailedRun(ranks={0: GLOO_LOST, 3: traceback("ValueError: x")}, exits={0: 1}, first=0),
        "exception", 3, "node2", "ValueError: x", "resume",
    ),
    "killed without a word": (
        FailedRun(ranks={0: traceback(messages.PEER_RESET)}, exits={2: -9}, first=1,
        log=messages.KILLED_BY_SRUN),
        "killed", 2, "node2", "SIGKILL", "dmesg",
    ),
    "segmentation fault": (
        FailedRun(exits={1: -11}, first=0), "killed", 1, "node1", "SIGSEGV", "PYTHONFAULTHANDLER=1",
    ),
    "cancelled": (
        FailedRun(log=messages.CANCELLED, state="cancelled", slurm="CANCELLED"),
        "cancelled", None, None, "in Slurm", "hpclaunch resume tiny-1",
    ),
    "cancelled, and Slurm has forgotten it": (
        FailedRun(log=messages.CANCELLED, slurm=""), "cancelled", None, None, "scancel", "resume",
    ),
    "node failure": (
        FailedRun(log=messages.NODE_FAILURE, slurm="NODE_FAIL"),
        "node-failure", None, "node2", "the node failed", "scontrol show node node2",
    ),
    "time limit": (
        FailedRun(log=messages.TIME_LIMIT, state="timed out", slurm="TIMEOUT",
             progress=Progress(step=3, total=21, checkpoint=2),
             record={"resources": {"time": "1-00:30:00"}}),
        "time-limit", None, None, "at step 3 of 21; newest checkpoint: step 2", "--time 49:00:00",
    ),
    "time limit, and Slurm has forgotten it": (
        FailedRun(log=messages.TIME_LIMIT, slurm=""),
        "time-limit", None, None, "time limit", "resume",
    ),
    "preempted": (
        FailedRun(log=messages.PREEMPTED, slurm="PREEMPTED"),
        "preempted", None, None, "priority", "--qos",
    ),
    "the server ended first": (
        FailedRun(ranks={0: traceback("requests.exceptions.ConnectionError: Max retries exceeded")},
             exits={0: 1}, server="INFO loading\nRuntimeError: Engine core failed\n"),
        "server", None, None, "code 1: RuntimeError: Engine core failed", "its log",
    ),
    "GPU memory": (
        FailedRun(ranks={1: traceback(messages.GPU_OOM), 0: GLOO_LOST, 2: GLOO_LOST},
             exits={1: 1, 2: 1},
             first=0, program=False),
        "gpu-memory", 1, "node1",
        "GPU 1 is out of memory: it asked for 2.50 GiB more, of 39.39 GiB 1.06 GiB was free",
        "training.max_length=1024",
    ),
    "GPU memory, older words": (
        FailedRun(ranks={2: traceback(messages.OLD_GPU_OOM)}, exits={2: 1}),
        "gpu-memory", 2, "node2", "512.00 MiB more, of 15.90 GiB 415.88 MiB was free", "--nodes 4",
    ),
    "host memory": (
        FailedRun(log=messages.OOM_KILL,
             exits={2: -9}, slurm="OUT_OF_MEMORY", ranks={0: GLOO_LOST}),
        "host-memory", 2, "node2", "killed a process", "--mem",
    ),
    "host memory, refused": (
        FailedRun(ranks={0: traceback(messages.HOST_ALLOCATION)}, exits={0: 1}),
        "host-memory", 0, "node1", "can't allocate memory", "--mem",
    ),
    "a collective of NCCL": (
        FailedRun(ranks={rank: messages.WATCHDOG.format(rank=rank, number=7753)
                         for rank in (0, 1, 3)},
             exits={0: -6}, first=0),
        "collective-timeout", 2, "node2",
        "(_reduce_scatter_base number 7753) after 600.061 s; rank 2 never said",
        "logs tiny-1 --rank 2",
    ),
    "a hung rank, of which one peer timed out and the others lost that peer": (
        FailedRun(ranks={0: traceback(messages.GLOO_TIMEOUT), 1: GLOO_LOST, 3: GLOO_LOST},
             exits={0: 1, 1: 1, 3: 1}, first=0),
        "collective-timeout", 2, "node2", "after 6 s; rank 2 never said that it waited", "--rank 2",
    ),
    "a rank behind the others": (
        FailedRun(ranks={rank: messages.WATCHDOG.format(rank=rank, number=9) + "\n"
                    + messages.ENQUEUED.format(rank=rank, number=9, last=9 if rank == 1 else 12)
                    for rank in range(4)}, exits={0: -6}),
        "collective-timeout", 1, "node1", "rank 1 had begun fewer", "timeout=",
    ),
    "a barrier": (
        FailedRun(ranks={0: traceback(messages.BARRIER)}, exits={0: 1}),
        "collective-timeout", 3, "node2", "rank 3 did not reach the barrier", "resume",
    ),
    "all waited": (
        FailedRun(ranks={rank: traceback(messages.GLOO_TIMEOUT) for rank in range(4)},
             exits={0: 1}),
        "collective-timeout", None, None, "after 6 s; the ranks do not say", "report",
    ),
    "never joined": (
        FailedRun(ranks={0: traceback(messages.NEVER_CAME)}, exits={0: 1}),
        "not-met", 2, "node2", "never joined", "interface",
    ),
    "a peer that left no trace": (
        FailedRun(ranks={0: GLOO_LOST}, exits={0: 1}, log=messages.KILLED_BY_SRUN),
        "peer-lost", 0, "node1", "at 10.0.0.7", "resume",
    ),
    "Xid": (
        FailedRun(log=f"1: {messages.XID}", ranks={0: GLOO_LOST}, exits={2: -9}, first=1),
        "gpu-error", None, "node2", "Xid 79: the GPU has fallen off the bus", "support",
    ),
    "disk full": (
        FailedRun(ranks={1: traceback(messages.DISK_FULL)}, exits={1: 1}),
        "disk-full", 1, "node1", "writing /scratch/ada/runs/x/a.pt", "df -h",
    ),
    "disk full, as safetensors says it": (
        FailedRun(ranks={0: traceback(messages.SAFETENSORS_FULL)}), "disk-full", 0, "node1", "full",
        "save_total_limit",
    ),
    "disk full, as torch.save says it": (
        FailedRun(ranks={0: traceback(messages.TORN_WRITE)}),
        "disk-full", 0, "node1", "most likely", "df",
    ),
    "a checkpoint that rank 0 could not write": (
        FailedRun(ranks={r: messages.CHECKPOINT.format(rank=r) for r in (3, 1, 0, 2)}, exits={3: 1},
        first=1),
        "disk-full", 0, "node1", "a disk is full", "df -h",
    ),
    "quota": (
        FailedRun(ranks={1: traceback(messages.QUOTA)}), "quota", 1, "node1", "quota", "HF_HOME",
    ),
    "gated": (
        FailedRun(ranks={1: traceback(messages.GATED)}, exits={1: 1}),
        "no-access", 1, "node1", "meta-llama/Meta-Llama-3-8B", "hf auth login",
    ),
    "gated data": (
        FailedRun(ranks={1: traceback(messages.GATED_DATA)}),
        "no-access", 1, "node1", "ada/secrets", "login",
    ),
    "no such repository": (
        FailedRun(ranks={1: traceback(messages.UNKNOWN_REPOSITORY)}),
        "not-found", 1, "node1", "ada/gone was not found", "name",
    ),
    "no way to the hub, found before the ranks": (
        FailedRun(log="0: hpclaunch: model ada/far is not on the hub; fetch it where there is "
                      "internet: hf download ada/far", program=False),
        "offline", None, "node1", "ada/far is not in the cache", "hf download ada/far",
    ),
    "no such model": (
        FailedRun(ranks={1: traceback(messages.NO_MODEL)}),
        "not-found", 1, "node1", "ada/no-such-model",
        "name",
    ),
    "offline": (
        FailedRun(ranks={1: traceback(messages.OFFLINE)}),
        "offline", 1, "node1", "ada/kept-elsewhere", "hf download ada/kept-elsewhere",
    ),
    "a bad row, found before the ranks": (
        FailedRun(log="hpclaunch: q.jsonl:12: 'messages' is empty; repair the row or take it out",
             code=2, program=False),
        "bad-data", None, None, "q.jsonl:12: 'messages' is empty", "repair the row",
    ),
    "no CUDA": (
        FailedRun(ranks={0: traceback(messages.NO_CUDA)}),
        "no-gpu", 0, "node1", "without CUDA", "--venv",
    ),
    "too few GPUs": (
        FailedRun(log="1: hpclaunch: node2 gives GPUs 0,1, 4 were asked for", first=1),
        "no-gpu", None, "node2", "4 were asked for", "--gpus",
    ),
    "fewer GPUs than asked for": (
        FailedRun(log="0: hpclaunch: node1 has fewer GPUs than the 4 asked for", first=0),
        "no-gpu", None, "node1", "fewer GPUs", "--gpus",
    ),
    "no restart left": (
        FailedRun(log="hpclaunch: restarted 2 times (--max-restarts); go on with: hpclaunch resume "
                      "a", program=False),
        "script", None, None, "restarted 2 times", "go on with: hpclaunch resume a",
    ),
    "old driver": (
        FailedRun(ranks={0: traceback(messages.OLD_DRIVER)}), "cuda-mismatch", 0, "node1", "driver",
        "nvidia-smi",
    ),
    "a PyTorch for other GPUs": (
        FailedRun(ranks={0: traceback(messages.NO_KERNEL)}), "cuda-mismatch", 0, "node1", "no code",
        "module",
    ),
    "an index out of bounds": (
        FailedRun(ranks={0: traceback(messages.DEVICE_ASSERT)}),
        "cuda-error", 0, "node1", "device-side assert", "CUDA_LAUNCH_BLOCKING=1",
    ),
    "port": (
        FailedRun(ranks={0: traceback(messages.PORT_TAKEN)}),
        "port-taken", 0, "node1", "port 31999",
        "--port",
    ),
    "not shared": (
        FailedRun(log="1: hpclaunch: /tmp/x is not on node2: --runs-dir must be on shared storage"),
        "not-shared", None, None, "/tmp/x is not on node2", "--runs-dir",
    ),
    "no environment": (
        FailedRun(log="/var/spool/slurmd/job00008/slurm_script: line 20: /gone/bin/activate: No "
                      "such file or directory\n0: bash: line 20: accelerate: command not found",
                  code=127),
        "no-environment", None, None, "/gone/bin/activate", "--venv",
    ),
    "environment gone": (
        FailedRun(log="hpclaunch: no Python environment in /gone on node1; make it anew, or name "
                      "another by --venv", code=1),
        "no-environment", None, None, "no Python environment in /gone on node1", "--venv",
    ),
    "no module": (
        FailedRun(log="Lmod has detected the following error: The following module(s) are unknown: "
                 '"CUDA/99"\n0: bash: accelerate: command not found', code=127),
        "no-module", None, None, "CUDA/99", "module avail",
    ),
    "no package": (
        FailedRun(ranks={0: traceback("ModuleNotFoundError: No module named 'flash_attn'")}),
        "no-package", 0, "node1", "flash_attn", "pip install flash-attn",
    ),
    "an own exit code": (
        FailedRun(exits={1: 7}, first=0),
        "exception", 1, "node1", "exit code 7", "logs tiny-1 --rank 1",
    ),
    "the script's own words": (
        FailedRun(log="hpclaunch: no checkpoint has weights; start anew", program=False),
        "script", None, None, "no checkpoint has weights", "start anew",
    ),
    "preparing failed": (
        FailedRun(log=traceback("KeyError: 'rope'"), program=False),
        "exception", None, None, "KeyError: 'rope'", "resume",
    ),
    "a stale file handle": (
        FailedRun(ranks={1: traceback("OSError: [Errno 116] Stale file handle: '/scratch/a.pt'")}),
        "file-system", 1, "node1", "a file system failed", "written anew",
    ),
    "too many requests": (
        FailedRun(ranks={1: traceback("requests.exceptions.HTTPError: 429 Client Error: Too Many "
                                      "Requests for url: https://huggingface.co/api/x")}),
        "rate-limit", 1, "node1", "(429)", "wait an hour",
    ),
    "a log that Slurm could not open": (
        FailedRun(log=None, code=128 + 53),
        "not-shared", None, None, "could not open the job's log", "--runs-dir",
    ),
    "a local run whose script was killed": (
        FailedRun(log="0: [gpu0]:loss 2.1", code=None, record={"mode": "local"}),
        "killed", None, None, "it left no exit code", "resume",
    ),
    "a job that Slurm does not know": (
        FailedRun(log="0: [gpu0]:loss 2.1", code=None, state="unknown",
                  reason="Slurm does not know job 8"),
        "unknown", None, None, "Slurm does not know job 8", "logs",
    ),
    "nothing": (
        FailedRun(log="0: [gpu0]:loss 2.1"), "unknown", None, None, "exit code 1", "logs",
    ),
}  # fmt: skip
