"""The script as text: sound bash, sound headers, and no change that no reviewer sees."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hpclaunch.plan.resources import PythonEnvironment
from hpclaunch.render.script import preamble, script
from hpclaunch.site.load import load_site
from hpclaunch.site.schema import GpuRequest, Site
from tests.plan.making import launch, plan, recipe

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]
PAGE = 90
"""Lines that somebody who approves scripts reads."""

RICH = Site(
    name="rich",
    modules=["cuda/12.4", "python/3.11"],
    setup=['export TMPDIR="/scratch/$USER"'],
    environment={"NCCL_IB_HCA": "mlx5", "QUOTED": "it's"},
    interface="ib0",
    address_suffix="-ib0",
    exclusive=True,
    mem="0",
    internet=False,
    account="abc",
    gpu_option="gres",
    gpus={"a100_40": GpuRequest(gres_type="a100", partition="gpu", constraint="hbm")},
)
TINY = recipe("model.dtype=float32", name="tiny")
OFTEN = recipe("monitoring.interval=0.1")
CONDA = PythonEnvironment(Path("/opt/conda envs/train"), "prefix")
LOCAL = launch(mode="local", command=("hpclaunch", "local"))
OWN = ("train me.py", "--lr", "1e-4", "it's")

PLANS = {
    "slurm-4x4": plan(nodes=4, gpus=4, gpu="a100_40"),
    "slurm-1": plan(gpus=1),
    "slurm-rich": plan(OFTEN, site=RICH, nodes=2, gpus=4),
    "slurm-baskerville": plan(
        site=load_site("baskerville"), nodes=2, gpus=4, gpu="a100_80", account="a", qos="q"
    ),
    "slurm-cpu": plan(TINY, nodes=2, cpu_processes=2),
    "slurm-own": plan(how=launch(program=OWN, modules=("extra/1",)), gpus=2, port=29500),
    "slurm-module": plan(how=launch(program=("-m", "mine.train")), gpus=2),
    "slurm-binary": plan(how=launch(program=("./run.sh", "x"), python=CONDA), gpus=2),
    "slurm-spaces": plan(how=launch(folder=Path("/shared/my runs/#1")), gpus=2),
    "local-gpu": plan(how=LOCAL, gpus=2),
    "local-cpu": plan(TINY, how=LOCAL, cpu_processes=2),
    "local-own": plan(how=launch(mode="local", program=OWN, python=CONDA), gpus=1),
    "local-rich": plan(site=RICH, how=LOCAL, gpus=1, port=29500),
}
every_plan = pytest.mark.parametrize("name", PLANS)


def rendered(name: str) -> str:
    return script(PLANS[name])


def headers(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#SBATCH")]


@every_plan
def test_bash_reads_it(name: str) -> None:
    done = subprocess.run(
        ["/bin/bash", "-n"], input=rendered(name), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def shellcheck() -> str:
    """The program; HPCLAUNCH_REQUIRE_SLURM=1 makes its absence a failure."""
    path = shutil.which("shellcheck")
    if path is None:
        reason = "shellcheck is not installed: tests/slurm/install.sh does it"
        if os.environ.get("HPCLAUNCH_REQUIRE_SLURM") == "1":
            pytest.fail(f"HPCLAUNCH_REQUIRE_SLURM=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    return path


def test_shellcheck_finds_nothing(shellcheck: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.sh" for name in PLANS]
    for file in files:
        file.write_text(rendered(file.stem))
    files += sorted((ROOT / "sbatch").glob("*.sbatch"))
    files += sorted((ROOT / "hpclaunch/render/static").glob("*.sh"))
    done = subprocess.run(
        [shellcheck, "--shell=bash", *files], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@every_plan
def test_headers_are_literal_and_ask_once(name: str) -> None:
    lines = headers(rendered(name))
    if name.startswith("local"):
        assert lines == []
        return
    flags = [re.split(r"[= ]", line.removeprefix("#SBATCH "))[0] for line in lines]
    assert len(set(flags)) == len(flags), "no option is given twice"
    asked_gpus = [flag for flag in flags if "gpu" in flag or "gres" in flag]
    assert len(asked_gpus) == (0 if PLANS[name].device == "cpu" else 1)
    assert len([flag for flag in flags if flag.startswith("--mem")]) <= 1
    assert ("--requeue" in flags) + ("--no-requeue" in flags) == 1
    assert "--open-mode" in flags
    for line in lines:
        assert not re.search(r"[$`\\]", line), "Slurm expands nothing there"
    text = rendered(name)
    head = text[: text.index("\nexport HPCLAUNCH_RUN")]
    assert headers(head) == lines, "Slurm reads headers up to the first command"


def test_a_folder_that_is_not_plain_is_quoted_in_its_header() -> None:
    assert '#SBATCH --output="/shared/my runs/#1/logs/job-%j.out"' in rendered("slurm-spaces")


@every_plan
def test_a_script_is_one_page(name: str) -> None:
    lines = rendered(name).splitlines()
    assert len(lines) <= PAGE
    assert max(len(line) for line in lines) <= 160


@pytest.mark.parametrize("path", sorted((ROOT / "sbatch").glob("*.sbatch")), ids=str)
def test_a_ready_script_is_one_page(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= PAGE


@every_plan
def test_modules_come_before_unset_variables_are_errors(name: str) -> None:
    text = rendered(name)
    strict = text.index("\nbegin")
    for line in preamble(PLANS[name]):
        # A module that cannot be loaded ends the job: it would go on with other libraries.
        end = " || exit 1" if line.startswith(("module load ", "source ")) else ""
        assert -1 < text.index(f"\n{line}{end}") < strict
    order = [f"module load {module} || exit 1" for module in PLANS[name].site.modules]
    assert [line for line in text.splitlines() if line in order] == order


@every_plan
def test_no_step_depends_on_what_srun_would_inherit(name: str) -> None:
    steps = re.findall(r"^(?:in_background|train) srun (.*(?:\\\n.*)*)", rendered(name), re.M)
    assert len(steps) == (0 if name.startswith("local") else 2)
    for step in steps:
        for flag in ("--overlap", "--export=ALL", "--nodes=", "--ntasks=", "--cpus-per-task="):
            assert flag in step
        assert "--cpus-per-gpu" not in step


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("slurm-own", ["'train me.py' --lr 1e-4 'it'\"'\"'s'"]),
        ("slurm-module", ["-m mine.train"]),
        ("slurm-binary", ["--no_python ./run.sh x"]),
    ],
)
def test_what_accelerate_launches(name: str, words: list[str]) -> None:
    block = re.search(r"^program=\(\n(.*?)^\)", rendered(name), re.MULTILINE | re.DOTALL)
    assert block
    assert [line.strip() for line in block.group(1).splitlines()] == words


def test_nccl_warns_unless_somebody_wants_more() -> None:
    assert 'export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"' in rendered("slurm-4x4")
    more = Site(name="more", environment={"NCCL_DEBUG": "INFO"})
    text = script(plan(site=more, gpus=1))
    assert re.findall(r"^export NCCL_DEBUG=.*", text, re.M) == ["export NCCL_DEBUG=INFO"]
    assert "NCCL_DEBUG=" not in rendered("slurm-cpu")


@pytest.mark.parametrize("name", ["slurm-4x4", "slurm-rich", "local-cpu"])
def test_the_script_is_the_one_last_looked_at(name: str) -> None:
    """UPDATE_GOLDEN=1 pytest tests/render writes the new text; the diff is for the reviewer."""
    path = GOLDEN / f"{name}.sbatch"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(rendered(name))
    assert rendered(name) == path.read_text(), "looked at and right? UPDATE_GOLDEN=1 keeps it"
