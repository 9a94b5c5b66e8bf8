"""The address that `notify.webhook` posts to: a secret, from a file of the user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.private_file import read_private

VARIABLE = "HPCLAUNCH_WEBHOOK_URL"
"""Variable with the address. Batch jobs do not inherit it: Slurm would keep it with the job."""
_URL = re.compile(r"https?://[^\s/:@]+(:\d+)?(/\S*)?")


def webhook_file(variables: Mapping[str, str] = os.environ) -> Path:
    """Return the file that holds the address, whether or not it is there."""
    base = variables.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "hpclaunch" / "webhook"


def webhook_url(variables: Mapping[str, str] = os.environ, *, inherited: bool = True) -> str:
    """Return the address. `inherited`: the variable counts, and not the file alone.

    Raises UserError, without the address, where there is none or it is none.
    """
    path = webhook_file(variables)
    url = variables.get(VARIABLE, "").strip() if inherited else ""
    source = VARIABLE
    if not url:
        source = str(path)
        try:
            url = read_private(path)
        except FileNotFoundError:
            raise UserError(
                "notify.webhook: there is no address to post to",
                f"write it into {path}, then chmod 600 {path}",
            ) from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    if not _URL.fullmatch(url):
        raise UserError(
            f"notify.webhook: {source} holds no address", "write https://HOST/PATH into it"
        )
    return url
