"""`hpclaunch watch` on a real terminal of many sizes, over runs that go on meanwhile."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpclaunch.watch.screen import HINT
from tests.watch.alive import Alive
from tests.watch.conftest import Open

Make = Callable[..., Alive]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_all_gpus_beside_the_training(make: Make, watch: Open, columns: int, lines: int) -> None:
    run = make(nodes=2, gpus=4)
    run.train(12)
    run.begin(seconds=30)
    screen = watch("--interval", "0.3", columns=columns, lines=lines)
    text = screen.until("running")
    assert "step        12 of 200" in text
    assert "6%, 4 min 42 s left" in text
    assert "1.5 s, 8,192 tokens/s in all" in text
    assert "loss        1.3330, first 2.4000" in text
    assert re.search(r"checkpoint  step 10, \d+ s ago", text)
    assert "8 on 2 nodes: 9" in text
    (heads,) = (line for line in screen.lines if "gpu %" in line)
    assert " ".join(heads.split()) == "# gpu % last 3 min W of W last 3 min GiB of GiB temp C"
    rows = [line for line in screen.lines if re.match(r" [0-3] +(9\d|100)% ", line)]
    assert len(rows) == 8
    assert all(re.search(r"[▆▇█]{3,} +3\d\d +400 .*[▆▇█]{3,} +64.\d +80.0 +\d\d°", row)
               for row in rows)  # fmt: skip
    assert heads.index("W") == rows[0].index("400") - 4, "a head stands above its numbers"
    assert sum(line.startswith(("n1 cpu  1", "n2 cpu  1")) for line in screen.lines) == 2
    assert screen.lines[-1] == HINT
    run.train(1)
    run.tick()
    screen.until("step        13 of 200")


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_quitting_leaves_the_job_and_the_terminal_alone(make: Make, watch: Open, key: str) -> None:
    run = make()
    run.begin(seconds=3)
    before = sorted(path for path in run.root.rglob("*"))
    screen = watch("--interval", "60")
    screen.until("running")
    screen.press("\x1b[A\x1bOP")  # neither an arrow nor F1 is a q
    time.sleep(0.3)
    screen.press(key)
    code, left = screen.end()
    assert (code, left.splitlines()) == (
        0, ["hpclaunch: no longer watching one; the job goes on"]
    )  # fmt: skip
    assert screen.as_before()
    assert screen.raw.count(b"\x1b[?25h") == 1, "the cursor is back"
    assert sorted(path for path in run.root.rglob("*")) == before


def test_sigterm_gives_the_terminal_back(make: Make, watch: Open) -> None:
    make().begin(seconds=3)
    screen = watch("--interval", "60")
    screen.until("running")
    os.kill(screen.process.pid, signal.SIGTERM)
    assert screen.end()[0] == 0
    assert screen.as_before()


def test_ctrl_z_gives_it_back_for_the_time(make: Make, watch: Open) -> None:
    make().begin(seconds=3)
    screen = watch("--interval", "0.3")
    screen.until("running")
    os.kill(screen.process.pid, signal.SIGTSTP)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{screen.process.pid}/stat").read_text().split()[2] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert screen.as_before()
    screen.until(lambda _: screen.raw.rstrip().endswith(b"\x1b[?1049l"))
    os.kill(screen.process.pid, signal.SIGCONT)
    screen.until(lambda _: screen.raw.count(b"\x1b[?1049h") == 2)
    screen.press("q")
    assert screen.end()[0] == 0


def test_a_new_size_is_filled_at_once(make: Make, watch: Open) -> None:
    run = make(nodes=16, gpus=8)
    run.begin(seconds=4)
    screen = watch("--interval", "60", columns=200, lines=50)
    text = screen.until("n16 cpu")
    assert text.count("gpu %") == 8, "every GPU of a row has its heads"
    assert len(re.findall(r" [0-7] +\d+% [▁-█ ]+ 3\d\d +64.\d", text)) == 16 * 8
    screen.resize(80, 24)
    text = screen.until(lambda text: "n16  ████████" in text)
    assert re.search(r"^node GPUs +gpu % +power +gpu GiB +cpu % ", text, re.M)
    assert screen.lines[-1].startswith("q quit")
    screen.resize(80, 16)
    text = screen.until("more nodes")
    shown = re.findall(r"^n\d+ +[▇█]{8} +\d+%", text, re.M)
    (hidden,) = re.findall(r"… (\d+) more nodes: gpu 9\d%, lowest 9\d% \(n\d+ GPU \d\)", text)
    assert len(shown) + int(hidden) == 16
    screen.resize(30, 5)
    screen.until(lambda text: "run         one" in text and "n1 " not in text)


def test_the_end_of_the_run_ends_it_with_a_last_screen(make: Make, watch: Open) -> None:
    run = make()
    run.train(20, total=20)
    run.begin(seconds=3)
    screen = watch("--interval", "0.3")
    screen.until("step        20 of 20")
    for name in run.names:
        run.end_node(name)
    run.finish()
    code, left = screen.end()
    assert code == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", left).splitlines()
    assert lines[0].startswith("run         one, done")
    assert any("step        20 of 20" in line and "100%" in line for line in lines)
    assert lines[-1] == "hpclaunch: done; see: hpclaunch report one"


def test_a_run_that_fails_says_why(make: Make, watch: Open) -> None:
    run = make()
    run.begin(seconds=3)
    (run.folder.logs / "job-7.out").write_text(
        "0: [gpu1]: Traceback (most recent call last):\n0: [gpu1]: ValueError: no such thing\n"
    )
    screen = watch("--interval", "0.3")
    screen.until("running")
    run.finish(1)
    code, left = screen.end()
    assert code == 1
    assert "failed" in left
    assert "ValueError: no such thing" in left
    assert "hpclaunch: failed; see: hpclaunch why one" in left


def test_a_silent_node_is_told_and_its_figures_are_old(make: Make, watch: Open) -> None:
    run = make(nodes=2, gpus=1)
    run.begin(seconds=20, until=12)
    for _ in range(12):
        run.tick(silent=("n2",))
    screen = watch("--interval", "0.3", NO_COLOR="1")
    text = screen.until("no samples for")
    assert re.search(r"problem     no samples from n2 for 1\d s", text)
    assert re.search(r"^n2 no samples for 1\d s; its last values:\n 0 +\d+%", text, re.M)
    assert "1 on 2 nodes" in text, "old values are not added up"
    assert re.search(rb"\x1b\[[0-9;]*3[0-9]m", screen.raw) is None, "no colour"
    run.tick()
    screen.until(lambda text: "no samples for" not in text)


def test_a_run_that_waits_says_why(make: Make, watch: Open, tmp_path: Path) -> None:
    from msgspec import structs

    from hpclaunch.run.record import read_record, write_record

    run = make()
    record = read_record(run.folder)
    write_record(run.folder, structs.replace(record, mode="sbatch", pid=None, job_id="77"))
    programs = tmp_path / "slurm"
    programs.mkdir()
    answer = programs / "answer"
    answer.write_text("77|PENDING|Priority||1:00:00\n")
    for name, script in {"sbatch": "", "squeue": f"exec cat {answer}", "scontrol": ""}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    screen = watch("--interval", "0.3", PATH=f"{programs}:{os.environ['PATH']}")
    text = screen.until("queued")
    assert "run         one, queued, job 77" in text
    folded = " ".join(text.split())
    assert "jobs of higher priority are before it (Priority)" in folded
    answer.write_text("77|RUNNING|None|n[1-2]|0:59:00\n")
    run.folder.attempt_file.write_text("77.0\n")  # the script begins with it
    run.begin(seconds=2)
    text = screen.until("running")
    assert "job 77 on n[1-2], 0:59:00 left" in text


def test_no_metrics_and_garbage(make: Make, watch: Open) -> None:
    run = make(nodes=3, gpus=1)
    run.folder.nodes.unlink()
    screen = watch("--interval", "0.3")
    text = screen.until("no node has recorded samples yet")
    assert "starting: no rank has reported yet" in text
    assert not re.search(r"\b0%|\b0 W", text), "unknown is no zero"
    (run.folder.metrics / "n1.samples.jsonl").write_bytes(os.urandom(100_000))
    (run.folder.metrics / "n2.samples.jsonl").mkdir()
    (run.folder.metrics / "\x1b[31mred.samples.jsonl").write_text("{}\n\x1b[2J\n")
    run.folder.events.write_bytes(os.urandom(5000) + b'\n{"event": "step", "step": "x"}\n')
    text = screen.until("n2       no samples yet")
    assert "?[31mred no samples yet" in text
    assert "Traceback" not in text


def test_a_terminal_without_unicode(make: Make, watch: Open) -> None:
    make(nodes=1, gpus=1).begin(seconds=20)
    screen = watch("--interval", "0.3", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    text = screen.until(" 400 ")
    assert re.search(r" 0 +\d+% +[#%*]+ +3\d\d +400", text)
    assert text.isascii()


def test_a_dumb_terminal_gets_lines(make: Make, watch: Open) -> None:
    make(nodes=1, gpus=1).begin(seconds=2)
    screen = watch("--interval", "0.3", TERM="dumb", columns=150)
    screen.until(lambda text: text.count("running") > 1)
    assert b"\x1b[?1049h" not in screen.raw


def test_keys_turn_pages_sort_and_show_help(make: Make, watch: Open) -> None:
    run = make(nodes=30, gpus=2)
    run.begin(seconds=3)
    screen = watch("--interval", "60")
    text = screen.until("node GPUs")
    assert re.search(r"^n1 +[▇█]", text, re.M) and not re.search(r"^n30 ", text, re.M)
    screen.press("?")
    screen.until("next page")
    screen.press("?")
    screen.until(lambda text: "next page" not in text)
    screen.press("\x1b[6~\x1b[6~")
    text = screen.until(lambda text: re.search(r"^n30 ", text, re.M) is not None)
    assert "of 30" in screen.lines[-1] and not re.search(r"^n1 ", text, re.M)
    screen.press("\x1b[C")
    screen.until("by gpu %, lowest first")
    screen.press("s")
    screen.until("by power, highest first")
    screen.press("q")
    assert screen.end()[0] == 0
