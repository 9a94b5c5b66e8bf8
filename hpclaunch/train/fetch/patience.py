"""What is asked of the hub once more, where it may be answered the next time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from hpclaunch.errors import UserError
from hpclaunch.train.hub import TOO_MANY_REQUESTS

T = TypeVar("T")

ATTEMPTS = 5
"""After so many that bring nothing it is given up."""
WAIT_S = 2.0
"""Seconds before the second attempt; twice as many before each further one."""
MOST_WAIT_S = 300.0
"""Seconds that the hub may ask to be left alone for."""


def patiently(call: Callable[[], T], wait_s: float = WAIT_S) -> T:
    """Return what a call returns, called again where it may go well. Raises its UserError."""
    attempt = 1
    while True:
        try:
            return call()
        except UserError as error:
            if attempt >= ATTEMPTS or not may_pass(error):
                raise
            time.sleep(seconds_to_wait(error, attempt, wait_s))
        attempt += 1


def may_pass(error: UserError) -> bool:
    """Return whether what went wrong with the hub may go well the next time."""
    status = _answer(error, "status_code")
    if isinstance(status, int):
        return status >= 500 or status in (408, TOO_MANY_REQUESTS)
    cause = error.__cause__
    if cause is None or type(cause).__name__ == "DatasetNotFoundError":
        return False
    return isinstance(cause, OSError) or "cannot be reached" in error.message


def seconds_to_wait(error: UserError, attempt: int, wait_s: float) -> float:
    """Return how long to wait after an attempt: as the hub says, else ever longer."""
    own = wait_s * float(2 ** max(0, attempt - 1))
    headers = _answer(error, "headers") or {}
    requested = str(headers.get("Retry-After", ""))
    return max(own, min(float(requested), MOST_WAIT_S)) if requested.isdecimal() else own


def _answer(error: UserError, attribute: str) -> Any:
    """Return something of the hub's answer that led to an error, None where there was none."""
    cause: BaseException | None = error.__cause__
    while cause is not None:
        response = getattr(cause, "response", None)
        if response is not None:
            return getattr(response, attribute, None)
        cause = cause.__cause__
    return None
