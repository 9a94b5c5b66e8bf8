"""Shapes of well-known models, for planning before anything is downloaded."""

from __future__ import annotations

import fnmatch
from functools import cache
from importlib import resources
from typing import Any

import yaml

from hpclaunch.plain_yaml import Loader


def known_config(name: str) -> dict[str, Any] | None:
    """Give the config.json's figures of a model by its hub id; None where it is not listed."""
    for patterns, config in _listed():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return dict(config)
    return None


@cache
def _listed() -> tuple[tuple[list[str], dict[str, Any]], ...]:
    text = resources.files("hpclaunch.plan").joinpath("models.yaml").read_text("utf-8")
    listed = yaml.load(text, Loader=Loader)  # noqa: S506 - a safe one, by its base
    return tuple((each["names"], each["config"]) for each in listed)
