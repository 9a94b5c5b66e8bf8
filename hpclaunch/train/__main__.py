"""`accelerate launch ... -m hpclaunch.train RUN`: what every rank executes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hpclaunch.recipe.load import load
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import phases
from hpclaunch.train.failure import write_failure
from hpclaunch.train.process import hide_unneeded, large_imports, run_program
from hpclaunch.train.quiet import quieten


def main(arguments: list[str]) -> int:
    """Train in the run folder named by the one argument; return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m hpclaunch.train RUN", file=sys.stderr)
        return 2
    folder = RunFolder(Path(arguments[0]).absolute())
    quieten()
    if os.environ.get("RANK", "0") == "0":
        phases.start(folder)
        phases.begin(phases.IMPORTING)
    try:
        recipe = load(str(folder.recipe))
        hide_unneeded(recipe)
        with large_imports():
            from hpclaunch.train.objectives import trainer_class
            from hpclaunch.train.session import run

            trainer_class(recipe.objective)  # imports TRL, before the model is loaded
        run(folder)
        phases.begin("")
        phases.stop()
    except Exception as error:
        phases.stop()
        code = write_failure(folder, error)
        sys.stdout.flush()
        sys.stderr.flush()
        # Not through the interpreter's end: the process group is still up, and threads of a broken
        # collective would hang the exit or turn its code into an abort's.
        os._exit(code)
    return 0


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
