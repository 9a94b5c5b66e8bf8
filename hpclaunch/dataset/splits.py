"""Which files of a folder belong to which split, by the rules of the `datasets` library.

Names of shards under `data/` come first, then names of folders, then names of files; where none
names a split, all files are the split train. Differences to the library, each to the safe side:
upper case counts as lower case, only data files count, and what looks like a split without being
one (`testset.jsonl`) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from hpclaunch.errors import UserError

Splits = dict[str, list[str]]
"""Split to the files in it, as paths within the folder."""

KEYWORDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in the names of files and folders that make them part of a split."""

_SHARD = re.compile(r"data/(?P<split>[^/]*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(?!\d)")
_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")
_DELIMITER = r"[-._ 0-9]"
_LOOKS_LIKE = re.compile(
    r"(?:.*[-._ 0-9])?(?:(?:train|test|val|valid|validation|dev|eval)(?:set|s|data|split|file)s?"
    r"|held[-_ ]?out|hold[-_ ]?out)(?:[-._ 0-9].*)?",
    re.IGNORECASE,
)
_CAMEL_CASE = re.compile(
    r".*[a-z0-9](?:Train|Test|Val|Valid|Validation|Dev|Eval)(?:Set|Data|Split)?(?:[-._ 0-9A-Z].*)?"
)


def splits_of(files: Iterable[str], folder: str) -> Splits:
    """Return the splits that the paths of a folder's data files make up.

    `folder` is for the error. Raises UserError where a file looks like one of a split, and the
    rules make it another.
    """
    paths = sorted(files)
    for rule in (_by_shards, _by_folders, _by_names):
        found = rule(paths)
        if found:
            return found
    for path in paths:
        names = [PurePosixPath(part).stem for part in path.split("/")]
        if any(_LOOKS_LIKE.fullmatch(name) or _CAMEL_CASE.fullmatch(name) for name in names):
            raise UserError(
                f"{folder}: {path} looks like one split of several, and its name says no split "
                "that is known",
                "name it train-..., validation-... or test-..., or name the one file to train on",
            )
    return {"train": paths} if paths else {}


def with_keyword(paths: Iterable[str], word: str) -> list[str]:
    """Return the paths that a single keyword, such as `dev`, makes part of a split."""
    pattern = _keyword_pattern(word)
    return [path for path in paths if any(pattern.fullmatch(part) for part in path.split("/"))]


def split_with_keyword(splits: Splits, word: str) -> str | None:
    """Return the split that a keyword stands for: dev, val and valid for validation, eval for test.

    None where it is no keyword, or the split is not there.
    """
    for split, words in KEYWORDS.items():
        if word in words:
            alike = [each for each in splits if each in words]
            return split if split in splits else alike[0] if len(alike) == 1 else None
    return None


def missing_shards(paths: Iterable[str]) -> list[str]:
    """Return the shards that are not there, of files named as `train-00000-of-00003`."""
    found: dict[tuple[str, int], set[int]] = {}
    for path in paths:
        match = _NUMBERED.match(path)
        if match:
            found.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    return [
        f"{name}-{number:05}-of-{total:05}"
        for (name, total), numbers in found.items()
        for number in range(total)
        if number not in numbers
    ]


def _by_shards(paths: list[str]) -> Splits:
    """`data/NAME-00000-of-00003.parquet`: any name is a split."""
    found: Splits = {}
    for path in paths:
        match = _SHARD.fullmatch(path)
        if match and _SPLIT_NAME.fullmatch(match["split"]):
            found.setdefault(match["split"], []).append(path)
    return found


def _by_folders(paths: list[str]) -> Splits:
    """Folders such as `train/` or `my-test-2/`, at any depth."""
    return _by_parts({path: path.split("/")[:-1] for path in paths})


def _by_names(paths: list[str]) -> Splits:
    """Files such as `train.jsonl` or `my_test_1.csv`, at any depth."""
    return _by_parts({path: path.split("/")[-1:] for path in paths})


def _by_parts(parts: dict[str, list[str]]) -> Splits:
    found: Splits = {}
    for split, words in KEYWORDS.items():
        pattern = re.compile(
            "|".join(f"(?:{_keyword_pattern(word).pattern})" for word in words), re.IGNORECASE
        )
        named = [path for path, names in parts.items() if any(map(pattern.fullmatch, names))]
        if named:
            found[split] = named
    return found


def _keyword_pattern(word: str) -> re.Pattern[str]:
    """Return what a file's or folder's name matches that has the keyword between delimiters."""
    return re.compile(rf"(?:.*{_DELIMITER})?{word}(?:{_DELIMITER}.*)?", re.IGNORECASE | re.DOTALL)
