"""What a model is refused for before a step of it can be simulated: the job would fail so, too."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

REFUSED = "refused: "
"""What the line on stderr begins with that says why."""


class RefusedModel(Exception):
    """Transformers, PEFT or FSDP does not take the model as its config and the recipe have it."""


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Raise RefusedModel, in one line, for whatever a library raises meanwhile.

    `what`: who does not do what: "FSDP cannot shard it". A package that is not installed is no
    fault of the model.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RefusedModel(f"{what}: {reason}") from error


@contextlib.contextmanager
def refusing_by_fsdp() -> Iterator[None]:
    """Raise RefusedModel for what FSDP itself raises meanwhile: some of it as late as in a step."""
    try:
        yield
    except Exception as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        if "distributed/fsdp" not in raised_in:
            raise
        with refusing("FSDP cannot shard it"):
            raise
