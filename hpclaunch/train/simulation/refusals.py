"""What a model is refused for before a step of it can be simulated: the job would fail so, too."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

REFUSED = "refused: "
"""What the line on stderr begins with that says why."""

UNSUPPORTED = "unsupported: "
"""What the line begins with where the job might run, and a step cannot be simulated."""


class UnsupportedModel(Exception):
    """A step of the model cannot be simulated; the trainer may take it all the same."""


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
        raise RefusedModel(f"{what}: {in_one_line(error)}") from error


def in_one_line(error: Exception) -> str:
    """Return the type and the message of an error."""
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextlib.contextmanager
def refusing_in_a_step() -> Iterator[None]:
    """Raise RefusedModel for what FSDP, or the model's own code, raises meanwhile.

    What depends on values of tensors, or fails in the stand-ins, is no fault of the model.
    """
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
    )

    try:
        yield
    except (RefusedModel, UnsupportedModel):
        raise
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise UnsupportedModel(
            f"what a step allocates depends on the values of its tokens ({error})"
        ) from error
    except Exception as error:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if "distributed/fsdp" in files[-1]:
            with refusing("FSDP cannot shard it"):
                raise
        raised_in = next((file for file in reversed(files) if "/torch/" not in file), "")
        if not any(f"/{library}/" in raised_in for library in ("transformers", "peft")):
            raise
        with refusing("its forward pass fails"):
            raise
