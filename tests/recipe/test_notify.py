"""`notify` and the trackers, as a recipe names them."""

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.tracking import check_trackers, trackers


@pytest.mark.parametrize(
    "address", ["me", "me@", "me@uni.example --wrap=x", "a@b\n#SBATCH --qos=x", "$(id)@b"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"notify\.mail"):
        load("tiny", [f"notify.mail={address!r}"])


def test_a_tracker_without_its_package_is_refused_with_the_line_that_installs_it() -> None:
    recipe = load("tiny", ["tracking.mlflow.enabled=true", "tracking.trackio.enabled=true"])
    assert list(trackers(recipe)) == ["tensorboard", "mlflow", "trackio"]
    check_trackers(recipe, lambda _: False, "python")
    with pytest.raises(UserError) as caught:
        check_trackers(recipe, {"trackio"}.__contains__, "/env/bin/python")
    assert str(caught.value) == (
        "tracking.trackio.enabled is on, but the package trackio is not installed; "
        "/env/bin/python -m pip install trackio, or set tracking.trackio.enabled: false"
    )
