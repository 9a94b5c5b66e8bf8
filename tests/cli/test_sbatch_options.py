"""One row of the table is all that an option of sbatch needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.draft import draft
from hpclaunch.launch.request import Request, from_environment
from hpclaunch.launch.resume import redraft
from hpclaunch.plan.resources import Resources
from hpclaunch.render.script import script
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.site.load import load_site
from hpclaunch.site.sbatch_arguments import PASSED_ON
from hpclaunch.site.sbatch_options import SITE_NAMES, rows
from hpclaunch.site.schema import GpuRequest
from tests.cli.running import Home
from tests.plan.making import launch, options, plan

SOME = ("a.b-c", "1:23:45", "7G", "100")
"""One of these fits the pattern of a row."""
every_row = pytest.mark.parametrize("name", rows())


@every_row
def test_a_row_is_a_flag_that_reaches_the_script(name: str, home: Home) -> None:
    flag, pattern = rows()[name].flag, rows()[name].pattern
    value = next(text for text in SOME if re.fullmatch(pattern, text))
    done = home.call("sbatch", "tiny", "--cpu-processes", "1", flag, value, "--dry-run")
    assert f"\n#SBATCH {flag}={value}" in done.out, done.err
    assert flag in home.call("sbatch", "--help").out
    assert flag not in PASSED_ON


@every_row
def test_a_row_checks_its_value(name: str) -> None:
    odd: dict[str, Any] = {name: "a b"}
    with pytest.raises(UserError, match=f"{rows()[name].flag} .* is not in Slurm's form; write"):
        Resources(**odd).check()


@every_row
def test_a_row_is_filled_from_slurms_own_variable(name: str) -> None:
    variable = rows()[name].variable
    if variable is not None:
        found = from_environment(Resources(), "sbatch", {f"SBATCH_{variable}": "5"})
        assert getattr(found, name) == "5"


@pytest.mark.parametrize("name", SITE_NAMES)
def test_a_row_is_a_key_of_a_site_and_of_its_needs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "hpclaunch/sites").mkdir(parents=True)
    file = tmp_path / "hpclaunch/sites/mine.yaml"
    file.write_text(f"needs: [{name}]\n")
    with pytest.raises(UserError, match=f"needs {name} for every job"):
        plan(site=load_site("mine"), gpus=1)
    file.write_text(f"needs: [{name}]\n{name}: '5'\n")
    assert options(plan(site=load_site("mine"), gpus=1))[rows()[name].flag] == "5"


def test_any_other_option_is_passed_on(home: Home) -> None:
    more = ["--sbatch-arg=--hint=multithread", "--sbatch-arg", "--contiguous"]
    done = home.call("sbatch", "tiny", "--cpu-processes", "1", *more, "--dry-run")
    assert "\n#SBATCH --hint=multithread\n#SBATCH --contiguous\n" in done.out, done.err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("reservation=x", "not an option of sbatch in one plain word"),
        ("-p", "not an option"),
        ("--hint=two words", "not an option"),
        ("--hint=x\n#SBATCH", "not an option"),
        ("--hint=$HOME", "not an option"),
        ("--hint='x'", "not an option"),
        ("--hint=", "not an option"),
        ("--comment=x", "use --comment of hpclaunch"),
        ("--exclusive", "use --exclusive of hpclaunch"),
        ("--time=1", "sets --time; use --time"),
        ("--ti=1", "sets --time"),
        ("--nodes=2", "sets --nodes; use --nodes"),
        ("--output=x", "the log is in the run folder"),
        ("--array=1-3", "one job"),
    ],
)
def test_what_is_no_plain_option_or_set_elsewhere_is_refused(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        script(plan(gpus=1, sbatch_arguments=(argument,)))


def test_resuming_keeps_them(home: Home) -> None:
    words = ["tiny", "--cpu-processes", "1", "--sbatch-arg=--contiguous", "--no-submit"]
    assert home.call("sbatch", *words, "--name", "one").code == 0
    folder = RunFolder(home.runs / "one")
    again = redraft(folder, read_record(folder), variables={})
    assert "\n#SBATCH --contiguous\n" in again.script


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--container=x", "pass it on: --sbatch-arg=--container=VALUE"),
        ("--array=1-3", "a run is one job"),
        ("--gres=gpu:1", "use --gpus"),
        ("--exclusiv", "--exclusive"),
    ],
)
def test_an_option_that_only_sbatch_has_is_explained(option: str, message: str, home: Home) -> None:
    done = home.call("sbatch", "tiny", option)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_a_profile_names_options_for_every_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "hpclaunch/sites").mkdir(parents=True)
    file = tmp_path / "hpclaunch/sites/mine.yaml"
    file.write_text("sbatch_arguments: ['--hint=nomultithread']\nexclude: node7\n")
    found = options(plan(site=load_site("mine"), gpus=1, exclusive=True, exclude="node8"))
    assert (found["--hint"], found["--exclude"]) == ("nomultithread", "node8")
    assert "--exclusive" in found
    file.write_text("sbatch_arguments: ['--nodes=3']\n")
    with pytest.raises(UserError, match="site mine: sbatch_arguments --nodes=3: hpclaunch sets"):
        plan(site=load_site("mine"), gpus=1)


@pytest.mark.parametrize(
    ("of_gpu", "own", "expected"),
    [
        (None, "ib", "ib"),
        ("a100_40", None, "a100_40"),
        ("a100_40", "ib", "a100_40&ib"),
        ("a100_40", "ib|opa", "a100_40&(ib|opa)"),
    ],
)
def test_a_constraint_stands_beside_the_gpu_types(
    of_gpu: str | None, own: str | None, expected: str
) -> None:
    how = launch(gpu_request=GpuRequest(constraint=of_gpu))
    assert options(plan(how=how, gpus=1, constraint=own))["--constraint"] == expected


def test_variables_of_sbatch_that_go_nowhere_are_pointed_out(tmp_path: Path) -> None:
    variables = {"SBATCH_RESERVATION": "res1", "SBATCH_GRES": "gpu:1", "SBATCH_DEBUG": "1"}
    request = Request(recipe="tiny", site="generic", resources=Resources(cpu_processes=1))
    made = draft(request, variables)
    assert options(made.plan)["--reservation"] == "res1"
    (note,) = (note.evidence for note in made.plan.notes if "set in this shell" in note.evidence)
    assert note == "SBATCH_GRES: set in this shell, and without effect here"


def test_resume_takes_the_options_of_slurm(home: Home) -> None:
    """Which `why` advises: more host memory, another partition, account or QOS."""
    words = ["tiny", "--cpu-processes", "1", "--no-submit", "--dependency", "afterok:1"]
    assert home.call("sbatch", *words, "--name", "one", "--partition", "old").code == 0
    folder = RunFolder(home.runs / "one")
    changes = {"mem": "0", "partition": "new", "qos": "long"}
    made = redraft(folder, read_record(folder), changes=changes, variables={}, modules=["cuda"])
    found = options(made.plan)
    assert (found["--mem"], found["--partition"], found["--qos"]) == ("0", "new", "long")
    assert "module load cuda" in made.script
    assert "--dependency" not in found, "the job it waited for is over"
    for flag in ("--mem", "--partition", "--account", "--qos", "--cpus", "--module", "--venv"):
        assert flag in home.call("resume", "--help").out
