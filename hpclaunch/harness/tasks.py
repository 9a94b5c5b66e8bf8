"""Tasks of lm-evaluation-harness, by their files: the harness takes most of a minute to import.

A task's file names it (`task:`), a group's its parts (`group:`), and either may carry tags.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen

PACKAGE = "lm_eval"
_FIND = (
    "import importlib.util as u; s = u.find_spec('lm_eval'); "
    "print(s.submodule_search_locations[0] if s else '')"
)
_KEY = re.compile(
    rb"^[\"']?(task|group|tag)[\"']?:[ \t]*([^\n#]*)((?:\n[ \t]*-[^\n]*)*)", re.MULTILINE
)
_LOADERS = {"json", "csv", "parquet", "arrow", "text", "pandas", "webdataset", "imagefolder"}
"""`dataset_path` of data in files, which is on no hub."""
_MAX_BYTES = 1 << 20
"""Of a task's file that is read."""
_MOST_FILES = 20_000


@frozen
class TaskIndex:
    """Which file each task, group and tag is in."""

    files: Mapping[str, Path]
    """Of tasks and groups."""
    tags: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def names(self) -> Collection[str]:
        """All that can be requested."""
        return self.files.keys() | self.tags.keys()

    def matching(self, name: str) -> list[str]:
        """Return the names that a request means: itself, or those that fit its `*`."""
        if "*" in name:
            return sorted(fnmatch.filter(self.names, name))
        return [name] if name in self.names else []


def harness_folder(python: Path) -> Path:
    """Return the harness's folder in the environment at `python`. Raises UserError without one."""
    if python == Path(sys.prefix):
        spec = importlib.util.find_spec(PACKAGE)
        places = list(spec.submodule_search_locations or []) if spec else []
        found = places[0] if places else ""
    else:
        command = [str(python / "bin" / "python"), "-P", "-c", _FIND]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            found = done.stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            found = ""
    if not found:
        raise UserError(
            f"the job's Python in {python} lacks lm_eval (lm-evaluation-harness)",
            f"{python}/bin/python -m pip install lm_eval",
        )
    return Path(found)


def read_index(folders: Iterable[Path]) -> TaskIndex:
    """Return the tasks that the files in some folders name; of equal names the last folder's."""
    files: dict[str, Path] = {}
    tags: dict[str, list[Path]] = {}
    for folder in folders:
        for path in _files(folder):
            try:
                data = _read(path)
            except OSError:
                continue
            for key, names in _keys(data):
                if key == "tag":
                    for name in names:
                        tags.setdefault(name, []).append(path)
                elif names:
                    files[names[0]] = path
    return TaskIndex(files, {name: tuple(paths) for name, paths in tags.items()})


def _read(path: Path) -> bytes:
    """Return the begin of a task's file, nothing of what is no plain file. Raises OSError."""
    if not path.is_file():  # a FIFO would be waited for
        return b""
    with path.open("rb") as stream:
        return stream.read(_MAX_BYTES)


def _keys(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """Return what a file names: `task`, `group` or `tag`, with the names.

    By their lines: to parse thousands of files takes half a minute.
    """
    if data.lstrip().startswith(b"{"):  # JSON, or YAML in one line
        for key in ("task", "group", "tag"):
            value = _parse(data).get(key)
            values = value if isinstance(value, list) and key == "tag" else [value]
            yield key, [each for each in values if isinstance(each, str) and each]
        return
    for key_bytes, first, items in _KEY.findall(data):
        names = [_plain(first), *(_plain(line) for line in items.split(b"\n"))]
        if key_bytes == b"tag":
            yield "tag", [name for name in names if name]
        elif names[0]:
            yield key_bytes.decode(), names[:1]


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = yaml.load(data, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(("__", ".")))
        yield from (Path(place) / name for name in sorted(names) if name.endswith(".yaml"))


def _plain(value: bytes) -> str:
    text = value.decode("utf-8", "replace").strip().removeprefix("-").strip()
    return text.strip("'\"")


def check_tasks(names: Iterable[str], index: TaskIndex, own: str | None) -> None:
    """Refuse tasks that are in no file, with the nearest names. Raises UserError.

    `own`: the folder of the user's own task files, where there is one.
    """
    for name in names:
        if index.matching(name):
            continue
        place = f" nor in {own}" if own else ""
        close = difflib.get_close_matches(name, index.names, n=3, cutoff=0.5)
        fix = f"did you mean {' or '.join(close)}?" if close else "own task files: --tasks-dir"
        raise UserError(f"there is no task '{name}' in lm-evaluation-harness{place}", fix)


def check_score(name: str, metric: str | None, index: TaskIndex) -> None:
    """Refuse a task without a score of its own, or without that metric. Raises UserError.

    Of what its file does not say, such as the metrics of a task in Python, nothing is refused.
    """
    config = _config(index.files[name]) if name in index.files else {}
    parts = [*_parts(config.get("task"))]
    if name not in index.files or (parts and not config.get("aggregate_metric_list")):
        raise UserError(
            f"'{name}' stands for several tasks and has no score of its own: it cannot choose the "
            "best checkpoint",
            f"name one of them: {', '.join(parts[:3])}" if parts else "name one of them",
        )
    listed = config.get("aggregate_metric_list" if parts else "metric_list")
    known = [each.get("metric") for each in _mappings(listed)]
    if metric is not None and known and metric.partition(" (")[0] not in known:
        raise UserError(
            f"task '{name}' has no metric '{metric}'",
            f"it has {', '.join(str(each) for each in known)}",
        )


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def needed_files(names: Iterable[str], index: TaskIndex) -> dict[Path, dict[str, Any]]:
    """Return the files of tasks and of all their parts, each with what it says."""
    found: dict[Path, dict[str, Any]] = {}
    paths = [path for name in names for path in _paths_of(index, name)]
    while paths and len(found) < _MOST_FILES:
        path = paths.pop()
        if path in found:
            continue
        found[path] = _config(path)
        for part in _parts(found[path].get("task")):
            paths += _paths_of(index, part)
    return found


def hub_datasets(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the hub's datasets that tasks read, sorted; `configs` are what their files say."""
    names = {config.get("dataset_path") for config in configs}
    return sorted(
        name
        for name in names
        if isinstance(name, str) and name not in _LOADERS and not Path(name).exists()
    )


def _paths_of(index: TaskIndex, name: str) -> list[Path]:
    paths = []
    for each in index.matching(name):
        paths += [index.files[each]] if each in index.files else []
        paths += index.tags.get(each, ())
    return paths


def _parts(tasks: Any) -> Iterator[str]:
    """Return the names of a group's parts, of groups within it, too."""
    for each in tasks if isinstance(tasks, list) else []:
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            inner = each.get("task")
            if isinstance(inner, str):
                yield inner
            yield from _parts(inner)


class _Loader(yaml.SafeLoader):
    """Reads a task's file; what its tags (`!function`) name is not looked at."""


_Loader.add_multi_constructor("!", lambda *_: None)


def _config(path: Path, depth: int = 0) -> dict[str, Any]:
    """Return a task's file with those that it includes; what cannot be read is left out."""
    try:
        config = _parse(_read(path))
    except OSError:
        return {}
    include = config.get("include")
    if isinstance(include, str) and depth < 5:
        return _config(path.parent / include, depth + 1) | config
    return config
