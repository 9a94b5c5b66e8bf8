"""One row of the table is all that an option of sbatch needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.request import from_environment
from hpclaunch.plan.resources import Resources
from hpclaunch.render.script import script
from hpclaunch.site.load import load_site
from hpclaunch.site.sbatch_options import SITE_NAMES, rows
from tests.cli.running import Home
from tests.plan.making import options, plan

VALUES = {"time": "1:23:45", "mem": "7G"}
every_row = pytest.mark.parametrize("name", rows())


@every_row
def test_a_row_is_a_flag_that_reaches_the_script(name: str, home: Home) -> None:
    flag, value = rows()[name].flag, VALUES.get(name, "a.b-c")
    done = home.call("sbatch", "tiny", "--cpu-processes", "1", flag, value, "--dry-run")
    assert f"\n#SBATCH {flag}={value}" in done.out, done.err
    assert flag in home.call("sbatch", "--help").out


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
    more = ["--sbatch-arg=--licenses=a:2", "--sbatch-arg", "--contiguous"]
    done = home.call("sbatch", "tiny", "--cpu-processes", "1", *more, "--dry-run")
    assert "\n#SBATCH --licenses=a:2\n#SBATCH --contiguous\n" in done.out, done.err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("reservation=x", "not an option of sbatch in one plain word"),
        ("-p", "not an option"),
        ("--comment=two words", "not an option"),
        ("--comment=x\n#SBATCH", "not an option"),
        ("--comment=$HOME", "not an option"),
        ("--comment='x'", "not an option"),
        ("--comment=", "not an option"),
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
    from hpclaunch.launch.resume import redraft
    from hpclaunch.run.folder import RunFolder
    from hpclaunch.run.record import read_record

    folder = RunFolder(home.runs / "one")
    again = redraft(folder, read_record(folder), variables={})
    assert "\n#SBATCH --contiguous\n" in again.script
