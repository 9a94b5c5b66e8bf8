"""A package that copying needs and the job's environment lacks is told before the queue."""

import sys
import venv
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.launch.remote_storage import check_storage
from hpclaunch.recipe.schema import Checkpoints

HERE = Path(sys.prefix)


def test_what_is_missing_here_is_named_with_the_command() -> None:
    with pytest.raises(UserError) as caught:
        check_storage(Checkpoints(sync_to="oci://bucket/me"), HERE)
    assert f"{HERE}/bin/python -m pip install ocifs" in str(caught.value)
    check_storage(Checkpoints(sync_to="s3://bucket/me"), HERE)


def test_another_environment_is_looked_into(tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=False)
    to_s3 = Checkpoints(sync_to="s3://bucket/me")
    with pytest.raises(UserError, match=f"s3fs, which {tmp_path} does not have"):
        check_storage(to_s3, tmp_path)
    (site,) = tmp_path.glob("lib/python3*/site-packages")
    (site / "s3fs.py").touch()
    check_storage(to_s3, tmp_path)


@pytest.mark.parametrize("url", [None, "file:///scratch/me", "made-up://x"])
def test_what_needs_nothing_known(tmp_path: Path, url: str | None) -> None:
    check_storage(Checkpoints(sync_to=url), tmp_path)
