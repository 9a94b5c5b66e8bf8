"""Everything of a recipe that a job would do before its first step and that needs no GPU."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hpclaunch.document import dump
from hpclaunch.launch.program import TRAINER, check_packages
from hpclaunch.recipe.load import to_yaml
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder


def prepare_ahead(
    recipe: Recipe, python: Path, environment: Mapping[str, str], *, quantize: bool = False
) -> int:
    """Fetch model and data, tokenize and pack the rows, and keep all in the caches.

    `python`: the prefix of the jobs' environment; `environment`: its variables; `quantize`: make
    the 4-bit weights of QLoRA, too. Its messages go to this process's streams. Returns its exit
    code. Raises UserError where the environment lacks a package.
    """
    check_packages(python, TRAINER, Path("/"))
    with tempfile.TemporaryDirectory(prefix="hpclaunch-prepare-") as made:
        folder = RunFolder(Path(made))
        folder.recipe.write_text(to_yaml(recipe), "utf-8")
        folder.accelerate.write_text(dump({"use_cpu": False}), "utf-8")
        programs = ["hpclaunch.train.prepare"] + ["hpclaunch.train.loading.ahead"] * quantize
        for program in programs:
            done = subprocess.run(
                [str(python / "bin" / "python"), "-P", "-m", program, made],
                stdin=subprocess.DEVNULL,  # no library asks for anything here
                env=dict(environment),
                check=False,
            )
            if done.returncode:
                return done.returncode
    return 0
