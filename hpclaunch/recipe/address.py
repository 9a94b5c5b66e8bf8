"""Addresses of storage that copies go to: their shape, and no secret in them."""

from __future__ import annotations

import re

from hpclaunch.document import Document
from hpclaunch.errors import UserError
from hpclaunch.secrets import find_secret

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "oci": "ocifs",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
"""The Python package that each kind of address needs."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.DOTALL)
_PASSWORD = re.compile(r".*:.*@", re.DOTALL)
_FORGETS = {"memory", "data", "http", "https", "blockcache", "filecache", "simplecache", "dir"}
"""Kinds of addresses that nothing can be kept at."""


def scheme_of(url: str) -> str:
    """Return the part before `://`, '' where there is none."""
    match = _SCHEME.fullmatch(url)
    return match.group(1) if match else ""


def check_addresses(document: Document) -> None:
    """Refuse addresses without a scheme, of nothing lasting, or with a secret. Raises UserError.

    A secret is not repeated in the complaint.
    """
    section = document.data.get("checkpoints")
    if not isinstance(section, dict):
        return  # the schema says so, with its place
    url = section.get("sync_to")
    problem = address_problem(url) if isinstance(url, str) else None
    if problem:
        where = document.where(("checkpoints", "sync_to"))
        raise UserError(f"{where}: checkpoints.sync_to: {problem[0]}", problem[1])


def address_problem(url: str) -> tuple[str, str] | None:
    """Return what is wrong with an address and the fix, None for a valid one."""
    match = _SCHEME.fullmatch(url)
    if match and (_PASSWORD.match(match.group(2)) or "?" in url or find_secret(url)):
        return (
            "the address holds a password, a key or a query",
            "credentials come from the environment or the storage's own files, such as "
            "~/.aws/credentials; write the address alone",
        )
    if not match or not url.isprintable() or " " in url:
        # Not repeated either: what is no address may be a secret typed in the wrong place.
        return "this is no address", "write s3://bucket/folder, gs://..., hf://... or file:///..."
    if match.group(1) in _FORGETS:
        return f"nothing can be kept at {match.group(1)}://", "use s3, gs, hf, file or the like"
    if match.group(1) in {"file", "local"} and not match.group(2).startswith("/"):
        return f"{url} is no whole path", "write file:///absolute/path"
    return None
