"""What the hub and its caches answer when something is missing, as one line with a fix."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hpclaunch.errors import UserError

TOO_MANY_REQUESTS = 429


def offline() -> bool:
    """Return whether this process was told to stay off the network."""
    values = (os.environ.get("HF_HUB_OFFLINE", ""), os.environ.get("HF_DATASETS_OFFLINE", ""))
    return any(value.strip().lower() in {"1", "true", "yes", "on"} for value in values)


@contextmanager
def explain(what: str, name: str) -> Iterator[None]:
    """Turn failures to get a model or dataset (`what`) called `name` into UserErrors."""
    from huggingface_hub import errors

    where = "on this machine, which works offline" if offline() else "on the hub"
    fetch = "fetch it where there is internet: hpclaunch fetch " + (
        f"datasets/{name}" if what == "dataset" else name
    )
    page = f"https://huggingface.co/{'datasets/' if what == 'dataset' else ''}{name}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise _gated(what, name, page) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{what} {name} has no such revision", "see revision") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        cause = error.__cause__
        if _status(cause) == TOO_MANY_REQUESTS:
            raise _too_many(what, name) from error
        raise UserError(f"{what} {name} is not {where}", fetch) from error
    except (OSError, ValueError) as error:
        if isinstance(error, errors.RepositoryNotFoundError) or _is_no_dataset(error):
            if " is a gated dataset " in str(error):  # those of other errors all name the word
                raise _gated(what, name, page) from error
            see = "see its name; for a private one log in: hf auth login"
            raise UserError(f"{what} {name} is not {where}", fetch if offline() else see) from error
        if _status(error) == TOO_MANY_REQUESTS:
            raise _too_many(what, name) from error
        text = " ".join(str(error).split())
        raise UserError(f"{what} {name} cannot be loaded: {text[:300]}") from error
    except _network_errors() as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"the hub cannot be reached for {what} {name}: {text[:200]}",
            "look at the network, and at HTTPS_PROXY and HF_ENDPOINT",
        ) from error


def _network_errors() -> tuple[type[Exception], ...]:
    """Return what the hub's library raises of a connection, beside OSError."""
    from huggingface_hub import errors

    names = ("HTTPError", "XetDownloadError")
    return tuple(getattr(errors, name) for name in names if hasattr(errors, name))


def _gated(what: str, name: str, page: str) -> UserError:
    return UserError(
        f"{what} {name} is gated, and this account has no access",
        f"ask for it on {page}, then log in: hf auth login",
    )


def _too_many(what: str, name: str) -> UserError:
    return UserError(
        f"the hub was asked too often (429) and gives no answer for {what} {name}",
        "wait some minutes, or log in (hf auth login): who is known may ask more often",
    )


def _status(error: BaseException | None) -> int | None:
    """Return the status code of the hub's answer, None where there is none."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is_no_dataset(error: Exception) -> bool:
    """Return whether it is what `datasets` raises for a dataset that is not there."""
    library = sys.modules.get("datasets.exceptions")  # not imported for models alone
    return library is not None and isinstance(error, library.DatasetNotFoundError)
