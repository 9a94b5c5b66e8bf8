"""What the hub and its caches answer when something is missing, as one line with a fix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hpclaunch.errors import UserError


def offline() -> bool:
    """Return whether this process was told to stay off the network."""
    values = (os.environ.get("HF_HUB_OFFLINE", ""), os.environ.get("HF_DATASETS_OFFLINE", ""))
    return any(value.strip().lower() in {"1", "true", "yes", "on"} for value in values)


@contextmanager
def explain(what: str, name: str) -> Iterator[None]:
    """Turn failures to get a model or dataset (`what`) called `name` into UserErrors."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import errors

    where = "on this machine, which works offline" if offline() else "on the hub"
    fetch = "fetch it where there is internet: hf download " + (
        f"--repo-type dataset {name}" if what == "dataset" else name
    )
    try:
        yield
    except errors.GatedRepoError as error:
        raise UserError(
            f"{what} {name} is gated, and this account has no access",
            f"ask for it on https://huggingface.co/{name}, then log in: hf auth login",
        ) from error
    except (errors.RepositoryNotFoundError, DatasetNotFoundError) as error:
        if "gated" in str(error).lower():
            raise UserError(
                f"{what} {name} is gated, and this account has no access",
                f"ask for it on the hub's page of {name}, then log in: hf auth login",
            ) from error
        raise UserError(
            f"{what} {name} is not {where}", fetch if offline() else "see its name"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{what} {name} has no such revision", "see revision") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise UserError(f"{what} {name} is not {where}", fetch) from error
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{what} {name} cannot be loaded: {text[:300]}") from error
