"""Runs that wait, work, are done; what Slurm's reasons mean; the samples of the nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.progress import Progress
from hpclaunch.diagnose.reasons import UNLISTED, explain
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from tests.diagnose import messages
from tests.diagnose.failed_runs import FailedRun, ask, traceback


@pytest.mark.parametrize(
    ("reason", "meaning", "step"),
    [
        ("Priority", "higher priority", ""),
        ("Resources", "next", ""),
        ("QOSMaxGRESPerJob", "more GPUs than one job", "--gpus"),
        ("QOSMaxGRESPerUser", "in use at once", "starts when others end"),
        ("MaxGRESPerAccount", "in use at once", "starts when others end"),
        ("QOSMaxCpuPerUserLimit", "in use at once", "starts when others end"),
        ("MaxGRESRunMinsPerUser", "reserved at once", "less --time"),
        ("AccountNotAllowed", "account may not be used", "--account"),
        ("ReservationDeleted", "reservation is gone", "without --reservation"),
        ("Reservation", "waits for its reservation", ""),
        ("No suitable topology unit found", "close to each other", "fewer --nodes"),  # 26.05
        ("Insufficient resources in topology unit", "close to each other", "fewer --nodes"),
        (
            "uid 1001 not in group permitted to use this partition (a). groups allowed: b",
            "members of other groups",
            "--partition",
        ),
        ("QOSMaxJobsPerUserLimit", "running as may run", "starts"),
        ("QOSMaxWallDurationPerJobLimit", "--time", "less --time"),
        ("AssocGrpGRES", "your group has as many GPUs", "--account"),
        ("AssocGrpGRESMinutes", "budget", "sshare"),
        ("AssocGrpCpuLimit", "your group uses", "--account"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "maintained", "scontrol show reservation"),
        ("Nodes required for job are DOWN, DRAINED or reserved", "down", "sinfo -R"),
        ("PartitionTimeLimit", "over the partition's limit", "less --time"),
        ("DependencyNeverSatisfied", "will never start", "hpclaunch cancel tiny-1"),
        ("JobHeldUser", "held by you", "scontrol release 8"),
        ("launch failed requeued held", "could not start it", "scontrol release 8"),
        ("BadConstraints", "no node has", "sinfo"),
        ("(BeginTime)", "two minutes", ""),
        ("SomethingNew", UNLISTED, ""),
        ("", "does not say", ""),
    ],
)
def test_reasons_in_words(reason: str, meaning: str, step: str) -> None:
    said_of, advised = explain(reason, "tiny-1", "8")
    assert meaning in said_of
    assert step in advised
    assert bool(step) == bool(advised)


def test_a_waiting_run(tmp_path: Path) -> None:
    found = FailedRun(state="queued", slurm="PENDING", reason="PartitionTimeLimit").ask(tmp_path)
    assert found.cause.kind == "queued"
    assert "will not start (PartitionTimeLimit)" in found.cause.headline
    assert found.cause.advice[-1] == "when it may start: squeue --start --jobs 8"


@pytest.mark.parametrize("state", ["queued", "running", "done", "stopped", "written"])
def test_no_failure_is_made_up(tmp_path: Path, state: str) -> None:
    found = FailedRun(
        ranks={0: traceback(messages.GPU_OOM)}, log=messages.OOM_KILL, state=state
    ).ask(tmp_path)
    assert found.cause.kind == state
    assert found.also == ()


def test_a_running_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    failed_run = FailedRun(
        state="running", progress=Progress(step=3, total=9, seconds_per_step=2.0)
    )
    failed_run.write(folder)
    log_event(folder.events, "step", step=3)
    assert (
        ask(folder, failed_run).cause.headline
        == "running: step 3 of 9, 12 s left at the current step time"
    )


def test_starts_that_failed_before_are_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    done, at_work = FailedRun(state="done", code=0), FailedRun(state="running")
    done.write(folder)
    assert ask(folder, done).cause.headline == "done: nothing failed"
    log_event(
        folder.events, "failure", kind="killed", node="node2", why="rank 1 on node2: exit code -9"
    )
    log_event(folder.events, "step", step=3)
    once = "; an attempt failed before, rank 1 on node2: exit code -9"
    assert ask(folder, done).cause.headline == f"done{once}"
    assert ask(folder, at_work).cause.headline == f"running{once}"
    log_event(folder.events, "failure", kind="node", node="node1", why="node1 was lost")
    assert "2 attempts failed before, the last node1 was lost" in ask(folder, done).cause.headline


def test_a_sampler_that_failed_is_a_note(tmp_path: Path) -> None:
    folder, failed_run = RunFolder(tmp_path), FailedRun(ranks={0: traceback("ValueError: x")})
    failed_run.write(folder)
    text = "srun: ended\nsidecar: cannot record into /x: No space left on device\n"
    (folder.logs / "sidecar.log").write_text(text)
    found = ask(folder, failed_run)
    assert found.cause.kind == "exception"
    assert "cannot record into /x" in found.notes[0]


def tick(used: float, **more: Any) -> str:
    host = {"mem_used_mib": used + 100, "mem_total_mib": 500000.0, "cgroup_mem_mib": used}
    return json.dumps({"kind": "tick", "n": 1, "host": host | more}) + "\n"


@pytest.mark.parametrize(("used", "kind"), [(99000.0, "host-memory"), (60000.0, "killed")])
def test_a_kill_near_the_limit_of_memory(tmp_path: Path, used: float, kind: str) -> None:
    folder, failed_run = (
        RunFolder(tmp_path),
        FailedRun(exits={2: -9}, ranks={0: traceback(messages.PEER_RESET)}),
    )
    failed_run.write(folder)
    folder.metrics.mkdir()
    limit = {"cgroup_limit_mib": 100000.0}
    for node, most in (("node1", 10.0), ("node2", used)):
        text = f'rn": 1}}\n{tick(5.0, **limit)}{tick(most, **limit)}{{"kind": "tick", "ho'
        (folder.metrics / f"{node}.samples.jsonl").write_text(text)
    cause = ask(folder, failed_run).cause
    assert (cause.kind, cause.rank, cause.host) == (kind, 2, "node2")
    if kind == "host-memory":
        assert "node2 used up to 96.7 of 97.7 GiB" in cause.evidence[-1].text


@pytest.mark.parametrize(
    ("mem", "limit"),
    [("1G", "1"), ("1500M", "1.46"), ("0", "97.7"), (None, "97.7"), ("odd", "97.7")],
)
def test_the_limit_of_memory_is_the_one_asked_for(
    tmp_path: Path, mem: str | None, limit: str
) -> None:
    """Where Slurm has no cgroup to hold the job in, the node's memory is not what ended it."""
    folder = RunFolder(tmp_path)
    failed_run = FailedRun(slurm="OUT_OF_MEMORY", record={"resources": {"mem": mem}})
    failed_run.write(folder)
    folder.metrics.mkdir()
    text = f'rn": 1}}\n{tick(900.0, cgroup_limit_mib=100000.0)}'
    for node in ("node1", "node2"):
        (folder.metrics / f"{node}.samples.jsonl").write_text(text)
    cause = ask(folder, failed_run).cause
    assert cause.kind == "host-memory"
    assert f"(the limit was {limit} GiB a node)" in cause.advice[0] or mem in {"0", None, "odd"}


def noted(root: Path, failed_run: FailedRun, *texts: str) -> Cause:
    """What is said of a run in which the sidecar of node2 noted something."""
    folder = RunFolder(root)
    failed_run.write(folder)
    folder.metrics.mkdir()
    notes = [json.dumps({"kind": "note", "wall": 1.0, "text": text}) + "\n" for text in texts]
    (folder.metrics / "node2.samples.jsonl").write_text("".join(notes))
    return ask(folder, failed_run).cause


@pytest.mark.parametrize(
    ("texts", "headline"),
    [
        (["GPU 3 is no longer sampled: GPU is lost"], "a GPU was lost while the job ran"),
        (["GPU 3: Xid 79"], "Xid 79: the GPU has fallen off the bus"),
        (["GPU 3: Xid 31", "GPU 3: Xid 48"], "Xid 48: a double-bit memory error"),
        (["GPU 3: 2 uncorrected ECC errors"], "errors that could not be corrected"),
        (["GPU 3: Xid 31"], "Xid 31: the program touched memory"),
    ],
)
def test_what_the_sampler_noted_of_a_gpu(tmp_path: Path, texts: list[str], headline: str) -> None:
    cause = noted(tmp_path, FailedRun(ranks={0: traceback(messages.PEER_CLOSED)}), *texts)
    assert (cause.kind, cause.host) == ("gpu-error", "node2")
    assert headline in cause.headline


def test_an_xid_long_before_the_end_is_found(tmp_path: Path) -> None:
    """Ranks that hang are ended after ten minutes: until then a sidecar writes megabytes."""
    folder, failed_run = RunFolder(tmp_path), FailedRun(ranks={0: traceback(messages.PEER_CLOSED)})
    failed_run.write(folder)
    folder.metrics.mkdir()
    note = json.dumps({"kind": "note", "wall": 1.0, "text": "GPU 3: Xid 79"}, separators=(",", ":"))
    later = tick(5.0, cgroup_limit_mib=1e5) * 10_000
    assert len(later) > 2**20
    (folder.metrics / "node2.samples.jsonl").write_text(f"{note}\n{later}")
    cause = ask(folder, failed_run).cause
    assert (cause.kind, cause.host) == ("gpu-error", "node2")


@pytest.mark.parametrize("texts", [["GPU 3: Xid 43", "GPU 3: Xid 45"], ["GPU 3: fan failed"]])
def test_what_every_killed_program_leaves_is_no_cause(tmp_path: Path, texts: list[str]) -> None:
    cause = noted(tmp_path, FailedRun(ranks={0: traceback(messages.PEER_CLOSED)}), *texts)
    assert cause.kind != "gpu-error"


def test_a_rank_that_says_why_it_failed_comes_before_an_xid(tmp_path: Path) -> None:
    cause = noted(
        tmp_path, FailedRun(ranks={1: traceback(messages.DISK_FULL)}, exits={1: 1}), "GPU 3: Xid 31"
    )
    assert cause.kind == "disk-full"
