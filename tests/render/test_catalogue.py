"""The ready-made files: as the generator writes them, and good for what they say."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hpclaunch.recipe.load import load
from hpclaunch.render import catalogue

ROOT = Path(__file__).parents[2]
LISTED = catalogue.catalogue()


@pytest.fixture(autouse=True)
def no_profiles_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_files_kept_are_those_the_generator_writes(tmp_path: Path) -> None:
    catalogue.main(tmp_path)
    for folder in ("accelerate_configs", "sbatch"):
        written = {path.name: path.read_text() for path in (tmp_path / folder).iterdir()}
        kept = {path.name: path.read_text() for path in (ROOT / folder).iterdir()}
        assert kept == written, "run: python -m hpclaunch.render.catalogue"


@pytest.mark.parametrize("name", LISTED.configs)
def test_the_command_in_a_config_prints_the_same(name: str) -> None:
    text = (ROOT / "accelerate_configs" / f"{name}.yaml").read_text()
    command = next(line for line in text.splitlines() if "command line: hpclaunch" in line)
    words = shlex.split(command.partition("command line: hpclaunch")[2])
    said = subprocess.run(
        [sys.executable, "-m", "hpclaunch.cli.main", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout == text[text.index("compute_environment") :]


@pytest.mark.parametrize("name", LISTED.jobs)
def test_a_job_names_a_config_of_its_own_shape(name: str) -> None:
    job = LISTED.jobs[name]
    text = (ROOT / "sbatch" / f"{name}.sbatch").read_text()
    config = yaml.safe_load((ROOT / "accelerate_configs" / f"{job.config}.yaml").read_text())
    assert f"#SBATCH --nodes={config['num_machines']}\n" in text
    assert f"--num_processes {config['num_processes']} " in text
    for part in (job.site, job.recipe, job.gpu or ""):
        assert part in name


@pytest.mark.parametrize("name", LISTED.jobs)
def test_the_steps_in_a_jobs_header_prepare_its_run(name: str, tmp_path: Path) -> None:
    text = (ROOT / "sbatch" / f"{name}.sbatch").read_text()
    text = text.replace(str(catalogue.SHARED), str(tmp_path))
    steps = text[text.index("from this repository,") : text.index("# and submit")]
    shell = "\n".join(line.removeprefix("#") for line in steps.splitlines()[1:])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["/bin/bash", "-e", "-c", shell], cwd=ROOT, check=True, env=os.environ | {"PATH": path}
    )
    run = tmp_path / "runs" / name
    assert f"export HPCLAUNCH_RUN={run}\n" in text
    assert f"#SBATCH --output={run}/logs/" in text
    assert (run / "logs").is_dir(), "Slurm drops the output of a job whose log has no folder"
    job = LISTED.jobs[name]
    sharding = LISTED.configs[job.config].sharding
    assert load(str(run / "recipe.yaml")) == load(job.recipe, [f"fsdp.sharding={sharding}"])
    assert (run / "accelerate.yaml").is_file()
