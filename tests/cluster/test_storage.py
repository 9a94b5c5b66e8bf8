"""A package that copying needs and the job's environment lacks is told before the queue."""

import sys
from pathlib import Path

import pytest

from hpclaunch.cluster.storage import check_storage
from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Checkpoints

HERE = Path(sys.prefix)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A virtual environment with nothing in it."""
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    return tmp_path


def test_what_is_missing_here_is_named_with_the_command() -> None:
    with pytest.raises(UserError) as caught:
        check_storage(Checkpoints(sync_to="oci://bucket/me"), HERE)
    assert f"{HERE}/bin/python -m pip install ocifs" in str(caught.value)
    check_storage(Checkpoints(sync_to="s3://bucket/me"), HERE)


def test_another_environment_is_looked_into(bare: Path) -> None:
    to_s3 = Checkpoints(sync_to="s3://bucket/me")
    with pytest.raises(UserError, match="needs the package s3fs"):
        check_storage(to_s3, bare)
    (bare / "lib/python3.11/site-packages/s3fs").mkdir()
    check_storage(to_s3, bare)


def test_an_environment_that_takes_packages_from_elsewhere_is_not_judged(bare: Path) -> None:
    (bare / "pyvenv.cfg").write_text("include-system-site-packages = true\n")
    check_storage(Checkpoints(sync_to="s3://bucket/me"), bare)


@pytest.mark.parametrize("url", [None, "file:///scratch/me", "made-up://x"])
def test_what_needs_nothing_known(bare: Path, url: str | None) -> None:
    check_storage(Checkpoints(sync_to=url), bare)
