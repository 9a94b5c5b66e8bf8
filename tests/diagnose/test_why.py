"""Each cause is told from the words that it really leaves, and from its consequences."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.diagnose.progress import Progress
from hpclaunch.run.folder import RunFolder
from tests.diagnose import said
from tests.diagnose.telling import Told, ask, error_file, traceback

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


@pytest.mark.parametrize("name", STORIES)
def test_the_cause_is_told(name: str, tmp_path: Path) -> None:
    told, kind, rank, host, headline, step = STORIES[name]
    found = told.ask(tmp_path)
    cause = found.cause
    assert (cause.kind, cause.rank, cause.host) == (kind, rank, host), cause
    assert headline in cause.headline
    assert any(step in line for line in cause.advice), cause.advice
    for clue in cause.evidence:
        assert clue.text
        if clue.file is not None and clue.line is not None:
            text = clue.file.read_text().splitlines()[clue.line - 1]
            assert clue.text.strip() in text


def test_a_sign_that_the_program_survived_is_not_the_cause(tmp_path: Path) -> None:
    caught = f"{traceback(said.DISK_FULL)}\ncaught, going on\n{said.NO_CUDA}\n"
    ranks = {1: caught + traceback("ValueError: x"), 0: said.NO_CUDA}
    found = Told(ranks=ranks, exits={1: 1}).ask(tmp_path)
    assert (found.cause.kind, found.cause.rank) == ("exception", 1)
    assert [clue.line for clue in found.cause.evidence] == [8, 9, 10]


def test_an_exception_raised_while_another_was_handled(tmp_path: Path) -> None:
    chained = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    words = traceback(said.DISK_FULL) + chained + traceback(said.TORN_WRITE)
    found = Told(ranks={1: words}, exits={1: 1}).ask(tmp_path)
    assert (found.cause.kind, found.cause.rank) == ("disk-full", 1)
    assert "writing /scratch/ada/runs/x/a.pt" in found.cause.headline


def test_what_a_rank_said_before_the_time_limit_is_told_beside_it(tmp_path: Path) -> None:
    ranks = {3: traceback("ValueError: x")}
    told = Told(log=said.TIME_LIMIT, ranks=ranks, state="timed out", slurm="TIMEOUT")
    found = told.ask(tmp_path)
    assert found.cause.kind == "time-limit"
    assert [other.line for other in found.also] == ["rank 3 on node2: ValueError: x"]


def test_of_a_requeued_job_the_last_start_counts(tmp_path: Path) -> None:
    log = (
        f"{said.OOM_KILL}{said.NODE_FAILURE}{said.REQUEUED}0: [gpu0]:a\n1: hpclaunch: odd; mend it"
    )
    found = Told(log=log).ask(tmp_path)
    assert (found.cause.kind, found.cause.headline) == ("script", "odd")
    assert found.cause.evidence[0].line == len(log.splitlines())


def test_a_job_whose_log_slurm_could_not_open(tmp_path: Path) -> None:
    told, folder = Told(code=181), RunFolder(tmp_path)
    told.write(folder)
    (folder.logs / "job-8.out").unlink()
    assert ask(folder, told).cause.kind == "not-shared"


def test_a_local_run_that_was_started_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    told = Told(exits={1: -9}, record={"mode": "local"})
    told.write(folder)
    log = folder.logs / "job-8.out"
    log.write_text(log.read_text().replace("2026-11-21", "2020-11-21"))
    assert ask(folder, told).cause.kind == "unknown", "that was an earlier start"
    log.write_text(f"{log.read_text()}0: hpclaunch: odd; mend it\n")
    cause = ask(folder, told).cause
    assert (cause.kind, cause.headline) == ("script", "odd")
    folder.nodes.unlink()
    assert ask(folder, told).cause.kind == "killed"


def test_the_trainers_own_record_of_a_failure(tmp_path: Path) -> None:
    folder, told = RunFolder(tmp_path), Told(exits={2: 1}, first=1, program=False)
    told.write(folder)
    error_file(folder, 0, error=said.PEER_CLOSED, collateral=True, time=1.0)
    words = traceback("hpclaunch.errors.UserError: no room for 2 tokens; set max_length")
    error_file(folder, 2, error="no room for 2 tokens", fix="set max_length", traceback=words)
    cause = ask(folder, told).cause
    assert (cause.kind, cause.line) == ("exception", "rank 2 on node2: no room for 2 tokens")
    assert cause.advice[0] == "set max_length"
    assert cause.evidence[0].text.startswith('File "/home/ada/train.py", line 11')
    assert cause.evidence[0].time
