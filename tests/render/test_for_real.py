"""Scripts handed to the programs they are written for: Slurm, and accelerate's launcher."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpclaunch.plan.resources import PythonEnvironment
from hpclaunch.render.accelerate import plan_config
from hpclaunch.render.script import script
from hpclaunch.run.folder import RunFolder, write_atomic
from tests.plan.making import launch, plan, recipe
from tests.render.standins import Stage, write_script
from tests.slurm.cluster import ThrowawayCluster

TINY = recipe("model.dtype=float32", name="tiny")
WORDS = (
    "a b", "it's", "$(touch pwned)", "`touch pwned`", "{{ x }}", "a\nb", "\n#SBATCH --account=x\n",
    "--", "-x", "", "é🦙", "--config_file=x", "--help", "-m", "%j", "\\", "*",
)  # fmt: skip


@pytest.mark.slurm
@pytest.mark.parametrize("code", [0, 7])
def test_slurm_runs_it_on_every_node(slurm: ThrowawayCluster, tmp_path: Path, code: int) -> None:
    numbered = f"printf '%s\\0' \"$@\" >{{notes}}/argv.$SLURM_NODEID; exit {code}"
    stage = Stage(tmp_path, training=numbered)
    # Unquoted in the header, the log would go to a file called 'a'.
    folder = RunFolder(tmp_path / "a #1 b")
    how = launch(folder=folder.root, cwd=tmp_path, python=stage.python(), program=("prog", *WORDS))
    made = plan(TINY, how=how, nodes=2, cpu_processes=1, cpus=1, mem="100M")
    folder.logs.mkdir(parents=True)
    write_script(folder, script(made))
    sent = slurm.run("sbatch", "--parsable", str(folder.script))
    assert sent.returncode == 0, sent.stderr
    deadline = time.monotonic() + 60
    while not folder.exit_code_file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert folder.exit_code_file.read_text() == f"{code}\n"
    assert folder.log() == folder.logs / f"job-{sent.stdout.strip()}.out"
    ended_early = code != 0  # the first node to fail ends the others
    seen = [stage.read(path.name) for path in sorted(stage.notes.glob("argv.*"))]
    if ended_early:  # the other one may not have written yet
        seen = [words for words in seen if words]
    assert len(seen) == 2 or ended_early
    assert seen
    for words in seen:
        assert tuple(words[-len(WORDS) :]) == WORDS
    ranks = {words[words.index("--machine_rank") + 1] for words in seen}
    assert ranks == {"0", "1"} or ended_early
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.train
@pytest.mark.parametrize("program", ["dump.py", "./dump"])
def test_accelerate_hands_every_word_to_every_rank(program: str, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="this is about accelerate's own command line")
    writes = "import os, sys; open('words.' + os.environ['RANK'], 'w').write('\\0'.join(sys.argv))"
    (tmp_path / "dump.py").write_text(writes)
    (tmp_path / "dump").write_text(f"#!{sys.executable}\n{writes}")
    (tmp_path / "dump").chmod(0o755)
    folder = RunFolder(tmp_path / "a run")
    folder.logs.mkdir(parents=True)
    python = PythonEnvironment(Path(sys.prefix), "prefix")
    how = launch(
        mode="local", folder=folder.root, cwd=tmp_path, python=python, program=(program, *WORDS)
    )
    made = plan(TINY, how=how, cpu_processes=2)
    write_atomic(folder.accelerate, plan_config(made))
    write_script(folder, script(made))
    done = subprocess.run(
        ["/bin/bash", folder.script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in range(2):
        words = (tmp_path / f"words.{rank}").read_text().split("\0")
        assert tuple(words[1:]) == WORDS
