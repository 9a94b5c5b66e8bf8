"""POST to the user's webhook. Its address is in no message, argument or file of the run."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.notify.message import What, message
from hpclaunch.recipe.load import load
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.run.webhook import webhook_url

TIMEOUT = 5.0
"""Seconds for a receiver to answer."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent on elsewhere would arrive as a GET without its content."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


def post(url: str, document: dict[str, Any], timeout: float = TIMEOUT) -> None:
    """Send a JSON document. Raises OSError where it is not accepted."""
    request = urllib.request.Request(  # noqa: S310 - webhook_url lets http and https pass alone
        url,
        json.dumps(document, allow_nan=False).encode(),
        {"Content-Type": "application/json", "User-Agent": "hpclaunch"},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=timeout):
        pass


def notify(folder: RunFolder, record: Record, what: What, code: int | None = None) -> None:
    """Send a run's message where its recipe asks for it. A failure is one line on stderr."""
    try:
        if load(str(folder.recipe)).notify.webhook:
            post(webhook_url(), message(folder, record, what, code))
    except UserError as error:
        _say(str(error))
    except Exception as error:  # whatever a receiver answers: the run has nothing to do with it
        code_of = getattr(error, "code", None)
        _say(f"HTTP {code_of}" if isinstance(code_of, int) else type(error).__name__)


def _say(why: str) -> None:
    """Log it. An error's own text may hold the address, so its kind alone is told."""
    print(f"hpclaunch: the webhook was not told: {why}", file=sys.stderr, flush=True)
