"""What is done to a run folder: bytes, values of JSON, and what is no plain file at all."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Mutation = Callable[[Path], None]
"""Changes a run folder."""

SECRET = "only-the-reader-may-see-this"
"""Text of a file outside of the folder, which a link in it may lead to."""

NESTED: Any = 0
for _ in range(90):
    NESTED = [NESTED]
VALUES = st.one_of(
    st.sampled_from([
        None, True, -1, 0, 1, 10**30, -(10**30), 1e308, -1e308, float("nan"), float("inf"), "",
        [], {}, "\x1b]52;c;ZXZpbA==\x07", "../../../etc/passwd", "--me", "1; rm -rf x", "$(id)",
        "\u202e", "a" * 5000, [[]] * 60, NESTED, {"a": {"b": {}}}, ["x"] * 500, "NaN", 2**63,
    ]),
    st.integers(), st.floats(), st.text(max_size=8),
)  # fmt: skip
SPECIAL = (
    "fifo", "zero", "urandom", "dangling", "loop", "folder", "socket", "secret", "sparse", "deep",
    "wide", "one line", "lines", "missing", "empty", "huge number", "closed",
)  # fmt: skip
MAIN = "run-1"
RECORD = f"{MAIN}/run.json"
"""The run that most mutations are of."""
FOLDERS = tuple(
    f"{MAIN}/{name}" for name in ("logs", "metrics", "checkpoints", "final", "logs/ranks")
)


def mutations(files: list[str], contents: dict[str, bytes]) -> st.SearchStrategy[Mutation]:
    """Return the mutations of a folder with these files."""
    name = st.sampled_from(files)
    folders = [each for each in FOLDERS if any(file.startswith(f"{each}/") for file in files)]
    json_files = [file for file in files if file.endswith((".json", ".jsonl"))]
    return st.one_of(
        st.builds(
            _set, st.sampled_from(json_files), st.integers(0, 40), st.integers(0, 40), VALUES
        ),
        *(
            [st.builds(_set, st.just(RECORD), st.just(0), st.integers(0, 40), VALUES)]
            if RECORD in files
            else []
        ),
        st.builds(_splice, name, st.floats(0, 1), st.integers(0, 50), st.binary(max_size=60)),
        st.builds(_replace, name, st.binary(max_size=200)),
        st.builds(_replace, name, st.sampled_from(list(contents.values()))),
        st.builds(_special, name, st.sampled_from(SPECIAL)),
        *(
            [st.builds(_special, st.sampled_from(folders), st.sampled_from(SPECIAL[:7]))]
            if folders
            else []
        ),
        st.builds(_rename, name, st.sampled_from(["\x1b[2J", "a\nb", "=1+1", "é" * 60, "--x"])),
    )


def named(text: str, act: Mutation) -> Mutation:
    """Return a mutation that shows what it does, and does nothing where it cannot."""
    return _Named(text, act)


class _Named:
    """A mutation that shows what it does, for the report of a failure."""

    def __init__(self, text: str, act: Mutation, *, special: bool = False) -> None:
        self._text = text
        self._act = act
        self.special = special

    def __call__(self, root: Path) -> None:
        # An earlier mutation may have taken its place away, or made it something else.
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            self._act(root)

    def __repr__(self) -> str:
        return self._text[:300]


def _set(name: str, line: int, key: int, value: Any) -> Mutation:
    """Put a value under a key of a line of JSON, the first level or the second."""

    def act(root: Path) -> None:
        path = root / name
        lines = path.read_bytes().split(b"\n")
        documents = [path.read_bytes()] if name.endswith(".json") else lines
        at = line % len(documents)
        try:
            document = json.loads(documents[at])
        except (ValueError, RecursionError):
            return
        places = [(document, each) for each in document] if isinstance(document, dict) else []
        for inner in document.values() if isinstance(document, dict) else ():
            if isinstance(inner, dict):
                places += [(inner, each) for each in inner]
        if places:
            inner, word = places[key % len(places)]
            inner[word] = value
        documents[at] = json.dumps(document).encode()
        path.write_bytes(b"\n".join(documents))

    return _Named(f"set({name!r}, line {line}, key {key}, {value!r})", act)


def _splice(name: str, place: float, length: int, new: bytes) -> Mutation:
    def act(root: Path) -> None:
        data = (root / name).read_bytes()
        at = int(place * len(data))
        (root / name).write_bytes(data[:at] + new + data[at + length :])

    return _Named(f"splice({name!r}, {place}, {length}, {new!r})", act)


def _replace(name: str, content: bytes) -> Mutation:
    return _Named(f"replace({name!r}, {content!r})", lambda root: _write(root / name, content))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _rename(name: str, word: str) -> Mutation:
    def act(root: Path) -> None:
        path = root / name
        path.rename(path.with_name(word + "".join(path.name.partition(".")[1:])))

    return _Named(f"rename({name!r}, {word!r})", act)


def _special(name: str, kind: str) -> Mutation:
    def act(root: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        _make(path, kind, root)

    return _Named(f"special({name!r}, {kind!r})", act, special=True)


def apply(drawn: Sequence[Mutation], root: Path) -> None:
    """Change a folder; first its files, then what is made something else: no FIFO is opened."""
    for mutate in sorted(drawn, key=lambda each: getattr(each, "special", False)):
        mutate(root)


def _make(path: Path, kind: str, root: Path) -> None:
    links = {
        "zero": "/dev/zero",
        "urandom": "/dev/urandom",
        "dangling": "nowhere",
        "loop": path.name,
        "secret": str(root.parent / "secret"),
    }
    texts = {
        "deep": b"[" * 300_000,
        "wide": b'{"event":"step","a":[' + b"[]," * 1_000_000 + b"0]}\n",
        "one line": b"a" * 20_000_000,
        "lines": b'{"event":"a"}\n' * 100_000,
        "huge number": b'{"event": "step", "step": ' + b"9" * 100_000 + b"}\n",
        "empty": b"",
    }
    if kind in links:
        path.symlink_to(links[kind])
    elif kind in texts:
        path.write_bytes(texts[kind])
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        # Weights and the job's log may be as large as this: they are copied, or printed.
        large = path.suffix not in {".safetensors", ".out"}
        with path.open("wb") as file:
            file.truncate(3 << 30 if large else 1 << 24)
    elif kind == "closed":
        path.write_bytes(b"x")
        path.chmod(0)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            here = Path.cwd()
            os.chdir(path.parent)  # the address of a socket is short
            listener.bind(path.name)
            os.chdir(here)
