"""What is printed, written and submitted is the same, and strings reach it as data."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv

import pytest
import yaml

from hpclaunch.cli.invocation import split
from hpclaunch.run.folder import RunFolder
from tests.cli.running import Home
from tests.render.standins import write_script

WORDS = ["tiny", "--nodes", "4", "--gpus", "4", "--gpu", "a100_40", "training.seed=7"]


def test_the_dry_run_prints_the_very_bytes(home: Home) -> None:
    dry = home.call("sbatch", *WORDS, "--dry-run")
    assert dry.code == 0, dry.err
    assert not home.runs.exists()
    written = home.call("sbatch", *WORDS, "--no-submit")
    assert written.code == 0, written.err
    folder = home.runs / "tiny-1"
    assert str(folder) in written.out
    assert (folder / "job.sbatch").read_text() == dry.out
    assert subprocess.run(["bash", "-n"], input=dry.out, text=True, check=False).returncode == 0


def test_the_folder_holds_the_resolved_recipe_and_config(home: Home) -> None:
    done = home.call("sbatch", *WORDS, "--no-submit", "--json", "--sharding", "hybrid")
    folder = home.runs / "tiny-1"
    said = json.loads(done.out)
    assert said == {"name": "tiny-1", "folder": str(folder), "job_id": None}
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["training"]["seed"] == 7
    config = yaml.safe_load((folder / "accelerate.yaml").read_text())
    assert config["num_machines"] == 4
    assert config["num_processes"] == 16
    assert config["parallelism_config"]["parallelism_config_dp_replicate_size"] == 4
    record = json.loads((folder / "run.json").read_text())
    assert record["command"][:3] == ["hpclaunch", "sbatch", "tiny"]
    assert record["job_id"] is None


def test_the_second_run_gets_the_next_number(home: Home) -> None:
    for number in (1, 2):
        done = home.call("sbatch", "tiny", "--no-submit", "--json")
        assert json.loads(done.out)["name"] == f"tiny-{number}"


def test_slurms_own_defaults_in_the_environment(home: Home) -> None:
    asking = Home(home.folder, {"SBATCH_ACCOUNT": "proj", "SBATCH_QOS": "fast"})
    words = ["sbatch", "tiny", "--site", "baskerville", "--gpu", "a100_40", "--dry-run"]
    done = asking.call(*words)
    assert "#SBATCH --account=proj" in done.out
    assert "#SBATCH --qos=fast" in done.out
    done = asking.call(*words, "--qos", "slow")
    assert "#SBATCH --qos=slow" in done.out


@pytest.mark.parametrize(
    "word", ["a b", "it's", 'say "no"', "$(touch hacked)", "`touch hacked`", "two\nlines", "*", ""]
)
def test_odd_words_reach_the_script_as_data(home: Home, word: str) -> None:
    (home.folder / "train.py").touch()
    done = home.call("sbatch", "--nodes", "2", "--no-submit", "--", "train.py", word)
    assert done.code == 0, done.err
    text = (home.runs / "train-1/job.sbatch").read_text()
    array = text[text.index("program=(") :]
    array = array[: array.index("\n)\n") + 2]
    show = f'{array}\nprintf "%s\\0" "${{program[@]}}"'
    said = subprocess.run(
        ["bash", "-c", show], capture_output=True, text=True, check=True, cwd=home.folder
    )
    assert said.stdout.split("\0")[:-1] == ["train.py", word]
    assert not (home.folder / "hacked").exists()
    if shutil.which("shellcheck"):
        check = subprocess.run(["shellcheck", "-"], input=text, text=True, check=False)
        assert check.returncode == 0


def test_only_the_first_double_dash_divides() -> None:
    typed = split(["sbatch", "--nodes", "2", "--", "prog", "--", "x", "--dry-run"])
    assert typed.arguments == ("sbatch", "--nodes", "2")
    assert typed.program == ("prog", "--", "x", "--dry-run")
    assert typed.command == ("hpclaunch", *typed.arguments, "--", *typed.program)


def test_an_environment_that_is_gone_by_then_stops_the_job(home: Home) -> None:
    """Another Python would train with other versions, or none of the packages."""
    venv.create(home.folder / "mine", symlinks=True)
    script = home.call("sbatch", "tiny", "--venv", "mine", "--dry-run").out
    (home.folder / "mine").rename(home.folder / "moved")
    folder = home.runs / "tiny-1"
    write_script(RunFolder(folder), script)
    ran = subprocess.run(
        ["bash", folder / "job.sbatch"], env=home.environment | {"SLURM_JOB_ID": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert f"no Python environment in {home.folder}/mine" in ran.stderr
    assert (folder / "exit_code").read_text() == "1\n", "nobody has to wait for Slurm's word"
    assert (folder / "job_id").read_text() == "1\n"


def test_the_record_holds_the_checksums_of_the_static_scripts(home: Home) -> None:
    assert home.call("sbatch", "tiny", "--no-submit").code == 0
    folder = home.runs / "tiny-1"
    record = json.loads((folder / "run.json").read_text())
    lines = "".join(f"{sum}  {name}\n" for name, sum in record["static_scripts"].items())
    done = subprocess.run(
        ["sha256sum", "--check"], input=lines, cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == "launch.sh: OK\nnode.sh: OK\n", done.stderr
