"""A process that works on a run folder before its ranks start: alone, and on no GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import phases
from hpclaunch.train.failure import one_line
from hpclaunch.train.process import hide_unneeded, large_imports
from hpclaunch.train.quiet import quieten


def run_alone(
    program: str, arguments: Sequence[str], work: Callable[[RunFolder, Recipe], None]
) -> int:
    """Do the work in the run folder named by the one argument; return the exit code.

    `program`: the module's name. An error of the user's is printed in one line.
    """
    if len(arguments) != 1:
        print(f"usage: python -m {program} RUN", file=sys.stderr)
        return 2
    folder = RunFolder(Path(arguments[0]).absolute())
    phases.start(folder)
    phases.begin(phases.IMPORTING)
    quieten()
    os.environ["ACCELERATE_USE_CPU"] = "true"  # this process needs no GPU, and must take none
    try:
        work(folder, load(str(folder.recipe)))
    except UserError as error:
        print(f"hpclaunch: {one_line(error)}", file=sys.stderr)
        return 2
    finally:
        phases.stop()
    return 0


def import_libraries(recipe: Recipe) -> None:
    """Import Transformers and datasets, without what the recipe does not need, and quietly."""
    hide_unneeded(recipe)
    with large_imports():
        from hpclaunch.train.quiet import quieten_libraries

        quieten_libraries(first_rank=True)
