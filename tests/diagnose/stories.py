"""What failed runs leave, a story each, and what `why` must say of it."""

from __future__ import annotations

from hpclaunch.diagnose.progress import Progress
from tests.diagnose import said
from tests.diagnose.telling import Told, traceback

GLOO_LOST = traceback(said.PEER_CLOSED)

STORIES: dict[str, tuple[Told, str, int | None, str | None, str, str]] = {
    # name: what was left; the kind, rank, host, a part of the headline, a part of the advice
    "own exception": (
        Told(ranks={3: traceback("my.pack.OddError: shard 7 is torn"), 0: GLOO_LOST},
             exits={3: 1, 0: 1}, first=1),
        "exception", 3, "node2", "my.pack.OddError: shard 7 is torn", "logs tiny-1 --rank 3",
    ),
    "the lost peer was seen first": (
        Told(ranks={0: GLOO_LOST, 3: traceback("ValueError: x")}, exits={0: 1}, first=0),
        "exception", 3, "node2", "ValueError: x", "resume",
    ),
    "killed without a word": (
        Told(ranks={0: traceback(said.PEER_RESET)}, exits={2: -9}, first=1,
        log=said.KILLED_BY_SRUN),
        "killed", 2, "node2", "SIGKILL", "dmesg",
    ),
    "segmentation fault": (
        Told(exits={1: -11}, first=0), "killed", 1, "node1", "SIGSEGV", "PYTHONFAULTHANDLER=1",
    ),
    "cancelled": (
        Told(log=said.CANCELLED, state="cancelled", slurm="CANCELLED"),
        "cancelled", None, None, "in Slurm", "hpclaunch resume tiny-1",
    ),
    "cancelled, and Slurm has forgotten it": (
        Told(log=said.CANCELLED, slurm=""), "cancelled", None, None, "scancel", "resume",
    ),
    "node failure": (
        Told(log=said.NODE_FAILURE, slurm="NODE_FAIL"),
        "node-failure", None, "node2", "the node failed", "scontrol show node node2",
    ),
    "time limit": (
        Told(log=said.TIME_LIMIT, state="timed out", slurm="TIMEOUT",
             progress=Progress(step=3, total=21, checkpoint=2)),
        "time-limit", None, None, "at step 3 of 21; newest checkpoint: step 2", "--time HH:MM:SS",
    ),
    "time limit, and Slurm has forgotten it": (
        Told(log=said.TIME_LIMIT, slurm=""), "time-limit", None, None, "time limit", "resume",
    ),
    "preempted": (
        Told(log=said.PREEMPTED, slurm="PREEMPTED"), "preempted", None, None, "priority", "--qos",
    ),
    "GPU memory": (
        Told(ranks={1: traceback(said.GPU_OOM), 0: GLOO_LOST, 2: GLOO_LOST}, exits={1: 1, 2: 1},
             first=0, program=False),
        "gpu-memory", 1, "node1",
        "GPU 1 is out of memory: it asked for 2.50 GiB more, of 39.39 GiB 1.06 GiB was free",
        "training.max_length=1024",
    ),
    "GPU memory, older words": (
        Told(ranks={2: traceback(said.OLD_GPU_OOM)}, exits={2: 1}),
        "gpu-memory", 2, "node2", "512.00 MiB more, of 15.90 GiB 415.88 MiB was free", "--nodes 4",
    ),
    "host memory": (
        Told(log=said.OOM_KILL, exits={2: -9}, slurm="OUT_OF_MEMORY", ranks={0: GLOO_LOST}),
        "host-memory", 2, "node2", "killed a process", "--mem",
    ),
    "host memory, refused": (
        Told(ranks={0: traceback(said.HOST_ALLOCATION)}, exits={0: 1}),
        "host-memory", 0, "node1", "can't allocate memory", "--mem",
    ),
    "a collective of NCCL": (
        Told(ranks={rank: said.WATCHDOG.format(rank=rank, number=7753) for rank in (0, 1, 3)},
             exits={0: -6}, first=0),
        "collective-timeout", 2, "node2",
        "(_reduce_scatter_base number 7753) after 600.061 s; rank 2 never said",
        "logs tiny-1 --rank 2",
    ),
    "a hung rank, of which one peer timed out and the others lost that peer": (
        Told(ranks={0: traceback(said.GLOO_TIMEOUT), 1: GLOO_LOST, 3: GLOO_LOST},
             exits={0: 1, 1: 1, 3: 1}, first=0),
        "collective-timeout", 2, "node2", "after 6 s; rank 2 never said that it waited", "--rank 2",
    ),
    "a rank behind the others": (
        Told(ranks={rank: said.WATCHDOG.format(rank=rank, number=9) + "\n"
                    + said.ENQUEUED.format(rank=rank, number=9, last=9 if rank == 1 else 12)
                    for rank in range(4)}, exits={0: -6}),
        "collective-timeout", 1, "node1", "rank 1 had begun fewer", "timeout=",
    ),
    "a barrier": (
        Told(ranks={0: traceback(said.BARRIER)}, exits={0: 1}),
        "collective-timeout", 3, "node2", "rank 3 did not reach the barrier", "resume",
    ),
    "all waited": (
        Told(ranks={rank: traceback(said.GLOO_TIMEOUT) for rank in range(4)}, exits={0: 1}),
        "collective-timeout", None, None, "after 6 s; the ranks do not say", "report",
    ),
    "never joined": (
        Told(ranks={0: traceback(said.NEVER_CAME)}, exits={0: 1}),
        "not-met", 2, "node2", "never joined", "interface",
    ),
    "a peer that left no trace": (
        Told(ranks={0: GLOO_LOST}, exits={0: 1}, log=said.KILLED_BY_SRUN),
        "peer-lost", 0, "node1", "at 10.0.0.7", "resume",
    ),
    "Xid": (
        Told(log=f"1: {said.XID}", ranks={0: GLOO_LOST}, exits={2: -9}, first=1),
        "gpu-error", None, "node2", "Xid 79: the GPU has fallen off the bus", "support",
    ),
    "disk full": (
        Told(ranks={1: traceback(said.DISK_FULL)}, exits={1: 1}),
        "disk-full", 1, "node1", "writing /scratch/ada/runs/x/a.pt", "df -h",
    ),
    "disk full, as safetensors says it": (
        Told(ranks={0: traceback(said.SAFETENSORS_FULL)}), "disk-full", 0, "node1", "full",
        "keep=1",
    ),
    "disk full, as torch.save says it": (
        Told(ranks={0: traceback(said.TORN_WRITE)}), "disk-full", 0, "node1", "most likely", "df",
    ),
    "a checkpoint that rank 0 could not write": (
        Told(ranks={r: said.CHECKPOINT.format(rank=r) for r in (3, 1, 0, 2)}, exits={3: 1},
        first=1),
        "disk-full", 0, "node1", "a disk is full", "df -h",
    ),
    "quota": (
        Told(ranks={1: traceback(said.QUOTA)}), "quota", 1, "node1", "quota", "HF_HOME",
    ),
    "gated": (
        Told(ranks={1: traceback(said.GATED)}, exits={1: 1}),
        "no-access", 1, "node1", "meta-llama/Meta-Llama-3-8B", "hf auth login",
    ),
    "gated data": (
        Told(ranks={1: traceback(said.GATED_DATA)}),
        "no-access", 1, "node1", "ada/secrets", "login",
    ),
    "no such repository": (
        Told(ranks={1: traceback(said.UNKNOWN_REPOSITORY)}),
        "not-found", 1, "node1", "ada/gone was not found", "name",
    ),
    "no way to the hub, found before the ranks": (
        Told(log="0: hpclaunch: model ada/far is not on the hub; fetch it where there is internet: "
                 "hf download ada/far", program=False),
        "offline", None, "node1", "ada/far is not in the cache", "hf download ada/far",
    ),
    "no such model": (
        Told(ranks={1: traceback(said.NO_MODEL)}), "not-found", 1, "node1", "ada/no-such-model",
        "name",
    ),
    "offline": (
        Told(ranks={1: traceback(said.OFFLINE)}),
        "offline", 1, "node1", "ada/kept-elsewhere", "hf download ada/kept-elsewhere",
    ),
    "a bad row, found before the ranks": (
        Told(log="hpclaunch: q.jsonl:12: 'messages' is empty; repair the row or take it out",
             code=2, program=False),
        "bad-data", None, None, "q.jsonl:12: 'messages' is empty", "repair the row",
    ),
    "no CUDA": (
        Told(ranks={0: traceback(said.NO_CUDA)}), "no-gpu", 0, "node1", "without CUDA", "--venv",
    ),
    "too few GPUs": (
        Told(log="1: hpclaunch: node2 gives GPUs 0,1, 4 were asked for", first=1),
        "no-gpu", None, "node2", "4 were asked for", "--gpus",
    ),
    "fewer GPUs than asked for": (
        Told(log="0: hpclaunch: node1 has fewer GPUs than the 4 asked for", first=0),
        "no-gpu", None, "node1", "fewer GPUs", "--gpus",
    ),
    "no restart left": (
        Told(log="hpclaunch: restarted 2 times (--max-restarts); go on with: hpclaunch resume a",
             program=False),
        "script", None, None, "restarted 2 times", "go on with: hpclaunch resume a",
    ),
    "old driver": (
        Told(ranks={0: traceback(said.OLD_DRIVER)}), "cuda-mismatch", 0, "node1", "driver",
        "nvidia-smi",
    ),
    "a PyTorch for other GPUs": (
        Told(ranks={0: traceback(said.NO_KERNEL)}), "cuda-mismatch", 0, "node1", "no code",
        "module",
    ),
    "an index out of bounds": (
        Told(ranks={0: traceback(said.DEVICE_ASSERT)}),
        "cuda-error", 0, "node1", "device-side assert", "CUDA_LAUNCH_BLOCKING=1",
    ),
    "port": (
        Told(ranks={0: traceback(said.PORT_TAKEN)}), "port-taken", 0, "node1", "port 31999",
        "--port",
    ),
    "not shared": (
        Told(log="1: hpclaunch: /tmp/x is not on node2: --runs-dir must be on shared storage"),
        "not-shared", None, None, "/tmp/x is not on node2", "--runs-dir",
    ),
    "no environment": (
        Told(log="/var/spool/slurmd/job00008/slurm_script: line 20: /gone/bin/activate: No such "
                 "file or directory\n0: bash: line 20: accelerate: command not found", code=127),
        "no-environment", None, None, "/gone/bin/activate", "--venv",
    ),
    "no module": (
        Told(log="Lmod has detected the following error: The following module(s) are unknown: "
                 '"CUDA/99"\n0: bash: accelerate: command not found', code=127),
        "no-module", None, None, "CUDA/99", "module avail",
    ),
    "no package": (
        Told(ranks={0: traceback("ModuleNotFoundError: No module named 'flash_attn.ops'")}),
        "no-package", 0, "node1", "flash_attn.ops", "pip install flash_attn",
    ),
    "an own exit code": (
        Told(exits={1: 7}, first=0), "exception", 1, "node1", "exit code 7", "logs tiny-1 --rank 1",
    ),
    "the script's own words": (
        Told(log="hpclaunch: no checkpoint has weights; start anew", program=False),
        "script", None, None, "no checkpoint has weights", "start anew",
    ),
    "preparing failed": (
        Told(log=traceback("KeyError: 'rope'"), program=False),
        "exception", None, None, "KeyError: 'rope'", "resume",
    ),
    "nothing": (
        Told(log="0: [gpu0]:loss 2.1"), "unknown", None, None, "exit code 1", "logs",
    ),
}  # fmt: skip
