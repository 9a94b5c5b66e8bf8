"""Publish: a run's weights and a card of them, on the hub or in a storage."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.forecast.hub_access import token
from hpclaunch.recipe.address import PACKAGES, address_problem, scheme_of
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.owner import require_own
from hpclaunch.run.stage_settings import Publish
from hpclaunch.stages.source import KnownSource
from hpclaunch.stages.stage import Rows, Stage
from hpclaunch.units import size

_REPOSITORY = re.compile(r"hf://[\w.-]+/[\w.-]+/?")
_LICENSE = re.compile(r"[A-Za-z0-9.+-]{0,64}")


def check(settings: Publish, sources: Sequence[KnownSource]) -> None:
    """Refuse an address that nothing can be published at. Raises UserError."""
    problem = address_problem(settings.url)
    if problem:
        raise UserError(*problem)
    for known in sources:
        if known.source.run is not None:
            # Its owner may put a link to a file of yours among the weights while they are copied.
            require_own(RunFolder.at(known.source.run), "publish")
    if not _LICENSE.fullmatch(settings.license):
        raise UserError("--license: that is no license's id", "write apache-2.0, mit, llama3.1 ...")
    scheme = scheme_of(settings.url)
    if scheme == "hf":
        if not _REPOSITORY.fullmatch(settings.url):
            raise UserError(f"{settings.url} is no repository", "write hf://OWNER/NAME")
        if token(os.environ) is None:
            raise UserError("there is no token of the hub here", "log in: hf auth login")
    elif scheme not in {"file", "local", *PACKAGES}:
        raise UserError(
            f"{scheme}:// is no storage that is known here", "write hf://, s3://, gs:// or file:///"
        )


def rows(values: Mapping[str, Any]) -> Rows:
    """Return what arrived where, as label and text."""
    files = values.get("files")
    if not isinstance(files, list) or not isinstance(values.get("bytes"), int):
        return []
    left_out = values.get("left_out")
    found: Rows = [
        ("published", str(values.get("url"))),
        ("files", f"{len(files)}, {size(values['bytes'])}, with a model card (README.md)"),
    ]
    if isinstance(left_out, list) and left_out:
        found.append(("left out", f"{', '.join(map(str, left_out))}: no part of a model"))
    if values.get("local_base"):
        found.append(
            ("note", "its base is a folder of this machine: others need it, or a merged model")
        )
    return found


STAGE = Stage(
    settings=Publish,
    rows=rows,
    check=check,
    writes_text=False,
    sampled=False,
)
