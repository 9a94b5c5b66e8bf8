"""Shapes of well-known models, so that they can be planned before they are downloaded.

`models.json` has the figures of each one's published config.json: most are gated. Names are
patterns, of which the first that fits counts. JSON, for every submission reads it.
"""

from __future__ import annotations

import fnmatch
from functools import cache
from typing import Any

import msgspec

from hpclaunch.shipped import shipped


class _Listed(msgspec.Struct, frozen=True):
    names: list[str]
    config: dict[str, Any]


def known_config(name: str) -> dict[str, Any] | None:
    """Return the config.json's figures of a model by its hub id; None where it is not listed."""
    for each in _listed():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in each.names):
            return dict(each.config)
    return None


@cache
def _listed() -> list[_Listed]:
    text = shipped("predict", "models.json").read_bytes()
    return msgspec.json.decode(text, type=list[_Listed])
