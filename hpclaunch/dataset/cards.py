"""What a dataset's README says of its files: `configs`, as the hub and `datasets` read them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hpclaunch.dataset.splits import Splits, splits_of
from hpclaunch.document import parse, read_text
from hpclaunch.errors import UserError, nearest

_CONFIGS = re.compile(r"^configs[ \t]*:.*(?:\n(?:[ \t#-].*)?$)*", re.MULTILINE)
_CARD = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def configured_splits(
    folder: Path, files: list[str], subset: str | None, wanted: str | None
) -> Splits | None:
    """Return the splits that the README of a folder lists, None where it lists none.

    `subset`: the configuration's name, None for its default. `wanted`: the split of which every
    file must be there; of others, those that are. Raises UserError where there is no such
    configuration, or the README cannot be understood.
    """
    card = folder / "README.md"
    configs = _configs(card) if card.is_file() else []
    if not configs:
        if subset is not None:
            raise UserError(
                f"{folder} has no configuration '{subset}': its README lists none",
                "leave data.subset out",
            )
        return None
    config = _chosen(configs, subset, card)
    base = config.get("data_dir")
    prefix = f"{base.strip('/')}/" if isinstance(base, str) and base.strip("./") else ""
    inside = [path for path in files if path.startswith(prefix)]
    patterns = config.get("data_files")
    if patterns is None:
        within = splits_of([path[len(prefix) :] for path in inside], str(folder / prefix))
        return {split: [prefix + path for path in paths] for split, paths in within.items()}
    splits: Splits = {}
    for split, pattern in _patterns(patterns, card):
        matching = [p for p in inside if _glob(pattern).fullmatch(p[len(prefix) :])]
        if not matching and split == wanted:
            raise UserError(
                f"{card} names {prefix}{pattern} for the split {split}, and no data file is there",
                "fetch the whole dataset, or name a file of it",
            )
        splits.setdefault(split, []).extend(p for p in matching if p not in splits.get(split, ()))
    return {split: paths for split, paths in splits.items() if paths}


def _configs(card: Path) -> list[dict[str, Any]]:
    """Return the configurations that a README's first lines list."""
    match = _CARD.match(read_text(card, "dataset card"))
    block = None if match is None else _CONFIGS.search(match[1])
    if match is None or block is None:
        return []
    above = "\n" * (match[1].count("\n", 0, block.start()) + 1)  # so that lines are the file's
    configs = parse(above + block[0], str(card)).data.get("configs")
    if not isinstance(configs, list) or not all(isinstance(each, dict) for each in configs):
        raise UserError(f"{card}: configs is no list of configurations", "repair it or remove it")
    return configs


def _chosen(configs: list[dict[str, Any]], subset: str | None, card: Path) -> dict[str, Any]:
    names = {str(config.get("config_name", "default")): config for config in configs}
    if subset is not None:
        if subset not in names:
            raise UserError(f"{card} has no configuration '{subset}'", nearest(subset, names))
        return names[subset]
    if len(names) == 1:
        return configs[0]
    default = names.get("default") or next((c for c in configs if c.get("default") is True), None)
    if default is None:
        raise UserError(
            f"{card} has several configurations: {', '.join(names)}", "set data.subset to one"
        )
    return default


def _patterns(value: Any, card: Path) -> Iterable[tuple[str, str]]:
    """Return split and pattern of each entry of `data_files`. Raises UserError."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        split, paths = ("train", entry)
        if isinstance(entry, dict):
            split, paths = entry.get("split", "train"), entry.get("path")
        for path in paths if isinstance(paths, list) else [paths]:
            if not isinstance(path, str) or not isinstance(split, str):
                raise UserError(f"{card}: data_files of a configuration cannot be understood")
            yield split, path.removeprefix("./")


def _glob(pattern: str) -> re.Pattern[str]:
    """Return what the paths match that a pattern with *, ** and [] names."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", pattern)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            special.get(part, part.replace("[!", "[^") if part[:1] == "[" else re.escape(part))
            for part in parts
        ),
        re.DOTALL,
    )
