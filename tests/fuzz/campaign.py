"""One case of the fuzzing, for the suite and for `make fuzz`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from hpclaunch.run.folder import RunFolder
from tests.fuzz.base import NAME, make_base
from tests.fuzz.confined import problems
from tests.fuzz.mutations import Mutation, mutations

Check = Callable[[list[Mutation]], int]
"""Tries a list of mutations; returns the peak of memory in bytes, raises AssertionError."""


@contextmanager
def prepared() -> Iterator[tuple[Check, st.SearchStrategy[list[Mutation]]]]:
    """Return what checks a list of mutations, and what draws one."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as name:
        top = Path(name).resolve()
        base = make_base(top / "base")
        runs = base.root.parent
        files = sorted(str(path.relative_to(runs)) for path in runs.rglob("*") if path.is_file())
        contents = {file: (runs / file).read_bytes() for file in files}

        def copy(place: Path) -> RunFolder:
            shutil.copytree(runs, place / "runs")
            return RunFolder(place / "runs" / NAME)

        def check(drawn: list[Mutation]) -> int:
            with tempfile.TemporaryDirectory(dir=top) as inner:
                outcome = problems(copy, drawn, Path(inner))
                assert not outcome.found, "\n".join(outcome.found)
                return outcome.peak_bytes

        yield check, st.lists(mutations(files, contents), min_size=1, max_size=3)
