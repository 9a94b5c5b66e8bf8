"""Checkpoints and weights at an address: copied whole, kept by number, had back when lost here."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import manifest
from tests.cli.running import Home
from tests.storage import BUCKET, Storage
from tests.train.conftest import Done, short
from tests.train.running import Outcome, events_of, launch, make_run
from tests.train.test_ends import after_two_steps

pytestmark = pytest.mark.train


def test_everything_is_there_when_the_run_ends(copied: Done, server: Storage) -> None:
    assert copied.outcome.code == 0, copied.outcome.said
    folder = copied.folder
    files = server.files("done/copied/")
    for name in ("checkpoints/step-6", "final"):
        here = folder.root / name
        local = {str(p.relative_to(here)): p for p in here.rglob("*") if p.is_file()}
        there = {f.removeprefix(f"{name}/") for f in files if f.startswith(f"{name}/")}
        assert there == {*local, manifest.NAME}
        for file, path in local.items():
            assert server.read(f"done/copied/{name}/{file}") == path.read_bytes()
    assert server.read("done/copied/recipe.yaml") == folder.recipe.read_bytes()
    said = {event["name"]: event for event in events_of(folder, "synced")}
    assert {"step-6", "final"} <= said.keys()
    assert said["step-6"]["step"] == 6
    assert said["final"]["url"] == f"s3://{BUCKET}/done/copied/final"
    assert events_of(folder, "sync failed") == []
    assert "sync: final is at s3://attic/done/copied/final" in copied.outcome.out
    assert "let me in" not in copied.outcome.said
    assert copied.outcome.err == ""


SLOW = """
import os, pathlib, signal, time
def wait(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    events = pathlib.Path({events!r})
    text = events.read_text() if events.exists() else ""
    if '"step": 3' in text and "sync failed" not in text:
        time.sleep(0.3)
    if "sync failed" not in text:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
if os.environ.get("RANK") == "0":
    signal.signal(signal.SIGALRM, wait)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
"""
"""Slows a rank down after its first checkpoint, until the storage is noticed to be away."""


def test_a_storage_that_is_away_does_not_hold_the_training(
    server: Storage, tmp_path: Path, tiny: Path, rows: Path
) -> None:
    """It leaves after the first copy and comes back: what was missed meanwhile is made good."""
    overrides = [*short(tiny, rows, steps=15), f"checkpoints.sync_to=s3://{BUCKET}/away"]
    folder = make_run(tmp_path / "run", overrides)
    site = tmp_path / "site"
    site.mkdir()
    text = SLOW.format(events=str(folder.events))
    (site / "sitecustomize.py").write_text(text, "utf-8")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(launch, folder, 2, 600, PYTHONPATH=str(site), **server.variables)
        wait_for(folder, "synced", running)
        server.stop()
        try:
            wait_for(folder, "sync failed", running)
            failed_at = events_of(folder, "sync failed")[0]["time"]
            wait_for(folder, "step", running, after=failed_at)
        finally:
            server.start()
        outcome = running.result()
    assert outcome.code == 0, outcome.said
    assert len(events_of(folder, "sync failed")) == 1, "said once"
    assert outcome.out.count("training goes on, and it is tried again") == 1
    assert "which answers again" in outcome.out
    assert server.whole("away/run/checkpoints/step-15/") and server.whole("away/run/final/")
    there = {key.split("/")[0] for key in server.files("away/run/checkpoints/")}
    assert "step-15" in there and len(there) <= 2, "checkpoints.keep"


def wait_for(
    folder: RunFolder, event: str, running: Future[Outcome], *, after: float = 0.0
) -> None:
    deadline = time.monotonic() + 120
    while not any(each["time"] > after for each in events_of(folder, event)):
        assert not running.done(), running.result().said
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_refusing_storage_costs_the_copy_only(
    server: Storage, tmp_path: Path, tiny: Path, rows: Path
) -> None:
    server.refuse(True)
    try:
        overrides = [*short(tiny, rows), f"checkpoints.sync_to=s3://{BUCKET}/forbidden"]
        folder = make_run(tmp_path / "run", overrides, per_node=1)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(launch, folder, 1, 600, **server.variables)
            wait_for(folder, "sync failed", running)
            time.sleep(5)
            assert len(events_of(folder, "sync failed")) == 1, "said once, however often tried"
            server.refuse(False)
            outcome = running.result()
    finally:
        server.refuse(False)
    assert outcome.code == 0, outcome.said
    (failed,) = events_of(folder, "sync failed")
    assert "PermissionError" in failed["why"]
    assert [path.name for path in folder.checkpoints.iterdir()].count("step-6") == 1
    assert server.whole("forbidden/run/final/"), "allowed again, it was copied at the end"


def test_a_folder_serves_as_well(tmp_path: Path, tiny: Path, rows: Path) -> None:
    attic = tmp_path / "attic"
    overrides = [*short(tiny, rows, steps=9), f"checkpoints.sync_to=file://{attic}"]
    folder = make_run(tmp_path / "run", overrides, per_node=1)
    outcome = launch(folder, 1)
    assert outcome.code == 0, outcome.said
    for name in ("checkpoints/step-9", "final"):
        assert manifest.find_damage(attic / "run" / name) is None
    steps = [path.name for path in (attic / "run/checkpoints").iterdir()]
    assert "step-9" in steps and len(steps) <= 2


def test_a_killed_training_leaves_no_copier(
    server: Storage, tmp_path: Path, tiny: Path, rows: Path
) -> None:
    overrides = [*short(tiny, rows, steps=300), f"checkpoints.sync_to=s3://{BUCKET}/killed"]
    folder = make_run(tmp_path / "run", overrides)
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    path = after_two_steps(tmp_path / "site", folder.events, 0, kill)
    outcome = launch(folder, 2, 600, PYTHONPATH=path, **server.variables)
    assert outcome.code != 0
    deadline = time.monotonic() + 5
    while copiers(folder):
        assert time.monotonic() < deadline, "a copier outlived its training"
        time.sleep(0.1)


def copiers(folder: RunFolder) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"hpclaunch.train.upload.copier" in words and str(folder.root).encode() in words:
            found.append(int(process.name))
    return found


def test_another_runs_folder_is_left_alone(
    server: Storage, tmp_path: Path, tiny: Path, rows: Path
) -> None:
    other = {"name": "run", "user": "somebody", "created": 1.0}
    server.write("taken/run/run.json", json.dumps(other).encode())
    before = server.files("taken/")
    overrides = [*short(tiny, rows), f"checkpoints.sync_to=s3://{BUCKET}/taken"]
    folder = make_run(tmp_path / "run", overrides, per_node=1)
    outcome = launch(folder, 1, 600, **server.variables)
    assert outcome.code != 0
    assert "holds another run (run of somebody)" in outcome.said
    assert "choose another --name" in outcome.said
    assert server.files("taken/") == before


LOCAL = [
    *("local", "tiny", "--cpu-processes", "2", "--name", "far", "data.limit=24"),
    *("training.eval_strategy=no", "training.logging_steps=1", "checkpoints.every_steps=6"),
]


def test_by_hand_and_back(
    server: Storage, tmp_path: Path, forked_trainings: dict[str, str]
) -> None:
    """As a user types it: run, lose what is here, go on; and never into another run's folder."""
    variables = {**server.variables, **forked_trainings}
    home = Home(tmp_path, {**variables, "HPCLAUNCH_RUNS_DIR": str(tmp_path / "runs")})
    words = [*LOCAL, f"checkpoints.sync_to=s3://{BUCKET}/hand"]
    first = home.call(*words, "training.max_steps=6")
    assert first.code == 0, first.out + first.err
    status = home.call("status", "far")
    assert f"uploaded    step 6; newest: s3://{BUCKET}/hand/far/" in status.out
    folder = RunFolder(tmp_path / "runs/far")
    record = json.loads(server.read("hand/far/run.json"))
    assert record["created"] == json.loads(folder.record.read_text())["created"]
    # As if it had been killed: nothing here but the folder itself.
    folder.exit_code_file.write_text("1\n")
    shutil.rmtree(folder.final)
    shutil.rmtree(folder.checkpoints)
    again = home.call("resume", "far", "training.max_steps=12")
    assert again.code == 0, again.out + again.err
    assert f"fetching step-6 from s3://{BUCKET}/hand/far" in again.out
    assert [event["step"] for event in events_of(folder, "step")] == list(range(1, 13))
    assert server.whole("hand/far/checkpoints/step-12/") and server.whole("hand/far/final/")

    # What lies there is a run folder: fetched by any tool, it goes on as well.
    for name in server.files("hand/far/"):
        if name in {"run.json", "recipe.yaml"} or name.startswith("checkpoints/"):
            path = tmp_path / "fetched/far" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(server.read(f"hand/far/{name}"))
    fetched = home.call("resume", str(tmp_path / "fetched/far"), "training.max_steps=14")
    assert fetched.code == 0, fetched.out + fetched.err
    assert "starts from the beginning" not in fetched.err
    assert "resuming from checkpoints/step-12" in fetched.out

    other = home.call(*words, "--runs-dir", str(tmp_path / "elsewhere"))
    assert other.code != 0
    assert f"s3://{BUCKET}/hand/far holds another run (far of" in other.out + other.err
