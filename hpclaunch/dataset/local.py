"""The files that one split of local data is read from: a file, a folder, or `save_to_disk`'s."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hpclaunch.dataset.cards import configured_splits
from hpclaunch.dataset.formats import format_of, is_unread, refusal, suffix_of
from hpclaunch.dataset.names import listed
from hpclaunch.dataset.splits import Splits, split_with_keyword, splits_of, with_keyword
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.recipe.data_formats import SUFFIXES, Format

MOST_FILES = 100_000
"""Files that a folder of data may hold; a folder with more is not meant."""

SET_SPLITS = "set data.split and data.validation_split to splits it has (null for no validation)"

_NO_DATA = {
    "checkpoint", "checksum", "checksums", "citation", "config", "croissant", "dataset_dict",
    "dataset_info", "dataset_infos", "info", "license", "licence", "manifest", "md5sums",
    "meta", "metadata", "package", "readme", "requirements", "schema", "sha256sums", "state",
    "statistics", "stats", "tokenizer", "tokenizer_config", "special_tokens_map",
}  # fmt: skip
"""Names of .json files that describe data and are none."""


@frozen
class LocalSplit:
    """One split of local data, and where its rows are."""

    name: str
    """What `data.name` says, for messages."""
    split: str
    files: tuple[Path, ...]
    format: Format
    left_out: tuple[str, ...] = ()
    """Data files that are there and belong to no split, or to another."""

    @property
    def names(self) -> list[str]:
        """Its files, within the folder."""
        root = Path(self.name)
        return [file.name if file == root else self._within(file, root) for file in self.files]

    def _within(self, file: Path, root: Path) -> str:
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(file.stat().st_size for file in self.files)


def local_split(path: Path, split: str, subset: str | None = None) -> LocalSplit:
    """Return the files of a split of local data; `split` has no slice. Raises UserError."""
    try:
        if path.is_file():
            return _single_file(path, split, subset)
        if not path.is_dir():
            raise UserError(f"{path}: no data files there", "give a file or a folder that exists")
        if (path / "dataset_dict.json").is_file() or _is_saved(path):
            return _saved(path, split, subset)
        return _in_folder(path, split, subset)
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {error.strerror}") from None


def held_out_split(path: Path) -> str:
    """Return the split that a folder given as `data.validation` means. Raises UserError."""
    if path.is_file() or not path.is_dir() or _is_saved(path):
        return "train"
    if (path / "dataset_dict.json").is_file():
        splits = _saved_splits(path)
    else:
        splits = _splits(path, data_files(path), None, None)
    if "validation" in splits:
        return "validation"
    if len(splits) == 1:
        return next(iter(splits))
    raise UserError(
        f"{path} has the splits {listed(splits, 20)}: which to validate on is not known",
        "set data.validation to one of its files",
    )


def _single_file(path: Path, split: str, subset: str | None) -> LocalSplit:
    found = format_of(path)
    if found is None:
        raise refusal(path)
    if split != "train":
        raise UserError(f"{path} has no split '{split}': a file is the split train", SET_SPLITS)
    if subset is not None:
        raise _no_subset(path, subset)
    return LocalSplit(str(path), split, (path,), found)


def _no_subset(path: Path, subset: str) -> UserError:
    return UserError(f"{path} has no configuration '{subset}'", "leave data.subset out")


def _in_folder(path: Path, split: str, subset: str | None) -> LocalSplit:
    everything = data_files(path)
    splits = _splits(path, everything, subset, split)
    split_of = split if split in splits else split_with_keyword(splits, split)
    if split_of is not None:
        names = splits[split_of]
        if split != split_of:  # the files of that very name, where there are some
            names = with_keyword(names, split) or names
    else:
        loose = [name for name in everything if not any(name in some for some in splits.values())]
        more = f"; in none: {listed(loose)}" if loose else ""
        there = listed(splits, 20)
        raise UserError(f"{path} has no split '{split}', but {there}{more}", SET_SPLITS)
    for other, in_other in splits.items():
        twice = sorted(set(names) & set(in_other)) if split_of != other else []
        if twice:
            raise UserError(
                f"{path / twice[0]} is in the splits {split_of} and {other} by its name",
                "rename it, or name the files to train and to validate on",
            )
    formats = {format_of(path / name): name for name in reversed(names)}
    if len(formats) > 1:
        mixed = " and ".join(f"{kind} ({name})" for kind, name in sorted(formats.items(), key=str))
        raise UserError(f"{path} mixes {mixed} files", "keep one kind, or name one file")
    return LocalSplit(
        name=str(path),
        split=split,
        files=tuple(path / name for name in names),
        format=format_of(path / names[0]) or "json",
        left_out=(*(name for name in everything if name not in set(names)), *_unread(path)),
    )


def _splits(path: Path, files: list[str], subset: str | None, wanted: str | None) -> Splits:
    """Return the splits of a folder that was not written by `save_to_disk`. Raises UserError.

    `wanted`: the split of which every file must be there.
    """
    if not files:
        others = sorted(entry.name for entry in path.iterdir())
        there = f"; there are {listed(others)}" if others else ""
        raise UserError(f"{path}: no data files there{there}", f"valid: {', '.join(SUFFIXES)}")
    configured = configured_splits(path, files, subset, wanted)
    return splits_of(files, str(path)) if configured is None else configured


def data_files(folder: Path) -> list[str]:
    """Return the data files at any depth of a folder, as sorted paths within it.

    Hidden ones, and files that describe the data, are none. Raises UserError for too many, and for
    a link of such a name that leads nowhere.
    """
    found = [name for name in _files(folder) if _is_data(Path(name).name)]
    for name in found:
        file = folder / name
        if file.is_symlink() and not file.exists():
            raise UserError(
                f"{file} is a link to {file.readlink()}, which is not there",
                "fetch or copy the file, or take the link away",
            )
    return [name for name in found if (folder / name).is_file()]


def _unread(folder: Path) -> list[str]:
    """Return the files of a folder that may hold rows, and are not read: archives and the like."""
    names = [name for name in _files(folder) if is_unread(Path(name))]
    return [name for name in names if not Path(name).name.startswith(".")]


def _files(folder: Path) -> list[str]:
    """Return the files at any depth of a folder, as sorted paths. Raises UserError for too many."""
    found: list[str] = []
    count = 0
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "__")) and not _leads_back(Path(root) / name)
        )
        count += len(files)
        if count > MOST_FILES:
            raise UserError(
                f"{folder} holds more than {MOST_FILES:,} files", "name the folder of the data"
            )
        inside = Path(root).relative_to(folder)
        found += [(inside / name).as_posix() for name in files]
    return sorted(found)


def _leads_back(folder: Path) -> bool:
    """Return whether a folder is a link to one that it lies in."""
    if not folder.is_symlink():
        return False
    return folder.parent.resolve().is_relative_to(folder.resolve())


def _raise(error: OSError) -> None:
    raise error


def _is_data(name: str) -> bool:
    """Return whether a file's name is that of data."""
    file = Path(name)
    if name.startswith(".") or format_of(file) is None:
        return False
    return suffix_of(file) != ".json" or name.split(".", 1)[0].lower() not in _NO_DATA


def _is_saved(folder: Path) -> bool:
    """Return whether `Dataset.save_to_disk` wrote a folder."""
    state = folder / "state.json"
    if not state.is_file() or not (folder / "dataset_info.json").is_file():
        return False
    return b'"_data_files"' in state.read_bytes() or any(folder.glob("*.arrow"))


def _saved(path: Path, split: str, subset: str | None) -> LocalSplit:
    """Return a split of what `save_to_disk` wrote, of a Dataset or a DatasetDict."""
    if subset is not None:
        raise _no_subset(path, subset)
    folder, left_out = path, list[str]()
    if not _is_saved(path):
        splits = _saved_splits(path)
        found = split if split in splits else split_with_keyword(splits, split)
        if found is None:
            there = listed(splits, 20)
            raise UserError(f"{path} has no split '{split}', but {there}", SET_SPLITS)
        folder, left_out = path / found, [f"{each}/" for each in splits if each != found]
    state = _json(folder / "state.json")
    own = state.get("_split")
    if folder == path and split not in ("train", own):
        raise UserError(f"{path} is a single Dataset, and has no split '{split}'", SET_SPLITS)
    entries = state.get("_data_files")
    names = [each.get("filename") for each in entries] if isinstance(entries, list) else []
    files = tuple(folder / name for name in names if isinstance(name, str))
    missing = [file.name for file in files if not file.is_file()]
    if not files or missing:
        what = f"{listed(missing)} is not there" if missing else "its state.json names no files"
        raise UserError(f"{folder} is not whole: {what}", "save or copy the dataset anew")
    return LocalSplit(str(path), split, files, "arrow", tuple(left_out))


def _saved_splits(path: Path) -> Splits:
    """Return the splits of a DatasetDict, without their files."""
    splits = _json(path / "dataset_dict.json").get("splits")
    if not isinstance(splits, list) or not all(isinstance(each, str) for each in splits):
        raise UserError(f"{path / 'dataset_dict.json'} lists no splits", "save the dataset anew")
    for split in splits:
        if not _is_saved(path / split):
            raise UserError(f"{path / split} is not whole: no state.json", "save the dataset anew")
    return {split: [] for split in splits}


def _json(file: Path) -> dict[str, Any]:
    """Return a file of `save_to_disk`. Raises UserError."""
    try:
        value = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file} cannot be read as JSON: {error}", "save the dataset anew"
        ) from None
    return value if isinstance(value, dict) else {}
