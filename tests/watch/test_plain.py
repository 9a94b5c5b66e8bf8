"""`hpclaunch watch` without a terminal: lines, objects, one snapshot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

from tests.cli.running import Home
from tests.watch.alive import Alive

Make = Callable[..., Alive]
HEAVY = ("torch", "numpy", "transformers", "rich", "monitors.report")


def test_one_snapshot(home: Home, make: Make) -> None:
    run = make(nodes=2, gpus=4)
    run.train(12)
    run.begin(seconds=20)
    done = home.call("watch", "--once")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("run         one, running")
    assert lines[1].startswith("step        12 of 200")
    assert sum(" 400 " in line and " 80.0 " in line for line in lines) == 8
    assert "\x1b" not in done.out
    assert max(map(len, lines)) <= 100


def test_one_object(home: Home, make: Make) -> None:
    run = make(nodes=2, gpus=1)
    run.train(12)
    run.begin(seconds=20, until=15)
    for _ in range(15):
        run.tick(silent=("n2",))
    done = home.call("watch", "--once", "--json")
    assert done.out.count("\n") == 1
    said = json.loads(done.out)
    assert (said["state"], said["progress"]["step"], said["progress"]["loss"]) == (
        "running", 12, 1.333
    )  # fmt: skip
    first, second = said["nodes"]
    assert (first["current"], second["current"], second["silent"]) == (True, False, True)
    assert 15 <= second["age_s"] < 30
    assert first["gpus"][0]["memory_total_mib"] == 81920
    assert "energy_j" not in first["gpus"][0]
    assert 6000 < first["traffic_in_mb_s"] < 6200
    assert said["trouble"] == [f"no samples from n2 for {round(second['age_s'])} s"]


def test_a_line_a_look_until_the_end(home: Home, make: Make) -> None:
    run = make(nodes=1, gpus=2)
    run.train(12)
    run.begin(seconds=20)
    process = home.start("watch", "--interval", "0.2")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert "running  step 12 of 200  loss 1.3330  8,192 tokens/s  4 min 42 s left" in first
    assert "1 of 1 nodes  2 GPUs 9" in first
    run.train(1)
    while "step 13" not in process.stdout.readline():
        pass
    run.finish()
    rest, _ = process.communicate(timeout=20)
    assert "  done  step 13" in rest.splitlines()[-1]
    assert process.returncode == 0


def test_an_object_a_look(home: Home, make: Make) -> None:
    run = make(nodes=1, gpus=1)
    run.begin(seconds=2)
    process = home.start("watch", "--interval", "0.2", "--json")
    assert process.stdout is not None
    said = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert said[0]["time"] < said[1]["time"] < said[2]["time"]
    run.finish(1)
    rest, _ = process.communicate(timeout=20)
    last = json.loads(rest.splitlines()[-1])
    assert (last["state"], last["ended"], process.returncode) == ("failed", True, 1)


def test_a_reader_that_goes_away(home: Home, make: Make) -> None:
    make(nodes=1, gpus=1).begin(seconds=2)
    command = f"{sys.executable} -m hpclaunch.cli.main watch --interval 0.2 | head -n 2"
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        env=home.environment | {"PATH": "/usr/bin:/bin"},
        cwd=home.folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout.count("\n"), done.stderr) == (2, "")


def test_a_run_that_was_only_written(home: Home) -> None:
    home.call("sbatch", "tiny", "--no-submit", "--name", "one")
    done = home.call("watch")
    assert done.code == 0
    assert "written" in done.out
    assert "never submitted" in done.out


def test_what_is_not_drawn_is_not_imported(home: Home, make: Make) -> None:
    make(nodes=1, gpus=1).begin(seconds=2)
    for words, allowed in (
        (["watch", "--help"], set[str]()),
        (["watch", "--once"], {"rich"}),
    ):
        assert home.imported(words, HEAVY) <= allowed
