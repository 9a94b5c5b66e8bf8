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

Check = Callable[[list[Mutation]], None]


@contextmanager
def prepared() -> Iterator[tuple[Check, st.SearchStrategy[list[Mutation]]]]:
    """Return what checks a list of mutations (raising AssertionError), and what draws one."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as name:
        top = Path(name).resolve()
        base = make_base(top / "base")
        files = sorted(
            str(path.relative_to(base.root)) for path in base.root.rglob("*") if path.is_file()
        )
        contents = {file: (base.root / file).read_bytes() for file in files}

        def copy(place: Path) -> RunFolder:
            shutil.copytree(base.root, place / "runs" / NAME)
            return RunFolder(place / "runs" / NAME)

        def check(drawn: list[Mutation]) -> None:
            with tempfile.TemporaryDirectory(dir=top) as inner:
                found = problems(copy, drawn, Path(inner))
                assert not found, "\n".join(found)

        yield check, st.lists(mutations(files, contents), min_size=1, max_size=3)
