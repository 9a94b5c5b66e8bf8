"""`checkpoints.best` is refused where nothing is evaluated."""

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load

BEST = "checkpoints.best=eval_loss"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.validation_split=null"], "checkpoints.best: eval_loss: there is no data to valid"),
        (["training.eval_strategy=no"], "training.eval_strategy: no, and checkpoints.best"),
        (["checkpoints.best=accuracy"], "checkpoints.best: 'accuracy'"),
    ],
)
def test_what_evaluates_nothing_has_no_best(more: list[str], message: str) -> None:
    with pytest.raises(UserError, match=r"^command line: ") as caught:
        load("tiny", [BEST, *more])
    assert message in str(caught.value)


def test_a_part_to_validate_on_will_do() -> None:
    assert load("tiny", [BEST]).checkpoints.best == "eval_loss"
