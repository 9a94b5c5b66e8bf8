"""The command that submits what a plan found: what was typed, with a layout's changes over it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hpclaunch.cli.options import PlaceOptions, RecipeOptions, ShardingOptions

_SWITCHES = {"offload": "offload", "activation_checkpointing": "activation-checkpointing"}


def submission(
    arguments: Sequence[str],
    recipe: RecipeOptions,
    sharding: ShardingOptions,
    place: PlaceOptions,
    gpu: str | None,
) -> tuple[str, ...]:
    """Return the words that are typed for `sbatch` in place of `plan`, without nodes and layout."""
    words = ["hpclaunch", "sbatch", *arguments]
    for name in ("method", "model", "dataset"):
        value = getattr(recipe, name)
        words += [] if value is None else [f"--{name}", value]
    words += [] if sharding.fsdp is None else ["--fsdp", sharding.fsdp]
    if sharding.sharding not in {None, "auto"}:
        words += ["--sharding", str(sharding.sharding)]
    for name, flag in _SWITCHES.items():
        value = getattr(sharding, name)
        words += [] if value is None else [f"--{'' if value else 'no-'}{flag}"]
    words += ["--gpus", str(place.gpus)]
    words += [] if gpu is None else ["--gpu", gpu]
    for name in ("site", "mem", "time"):
        value = getattr(place, name)
        words += [] if value is None else [f"--{name}", value]
    return tuple(words)


def with_changes(typed: Sequence[str], nodes: int, changes: Sequence[str]) -> str:
    """Return a command line: `typed`, on so many nodes, with a layout's changes."""
    changed = [word for change in changes for word in change.split(" ")]
    return shlex.join([*_without(typed, changes), "--nodes", str(nodes), *changed])


def _without(typed: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Leave out of what was typed what a change says anew."""
    keys = {change.partition("=")[0].partition(" ")[0].replace("--no-", "--") for change in changes}
    kept: list[str] = []
    skip = False
    for word in typed:
        if skip:
            skip = False
            continue
        key = word.partition("=")[0].replace("--no-", "--")
        if key in keys:
            skip = key == "--sharding"
            continue
        kept.append(word)
    return kept
