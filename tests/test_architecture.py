"""The rules of the structure: who may import whom, no cycles, and how long a file may be."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from hpclaunch.recipe.objectives import OBJECTIVES

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")
LOADERS = {"from_pretrained", "from_config"}
WITHOUT_CODE = {"PeftModel", "GenerationConfig"}
"""What these load names no code of a repository."""


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-cache"], cwd=root, capture_output=True, text=True, check=False
    )


def test_packages_import_only_what_they_may() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "from hpclaunch.slurm import commands",
        "from hpclaunch.train import distributed",
        "import torch",
        "def late() -> None:\n    import transformers",
        "from monitors.report import page",
    ],
)
def test_a_break_is_found(line: str, tmp_path: Path) -> None:
    # The linter reads the packages of the folder it stands in, before any installed ones.
    for name in ("hpclaunch", "monitors"):
        for path in (ROOT / name).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    (tmp_path / ".importlinter").write_text((ROOT / ".importlinter").read_text())
    with (tmp_path / "hpclaunch" / "plan" / "layout.py").open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert "hpclaunch.plan.layout" in done.stdout


def test_no_loader_asks_whether_to_run_a_models_code() -> None:
    """Where it is not told so, Transformers asks on the terminal, and runs the code after a `y`."""
    for path in (ROOT / "hpclaunch").rglob("*.py"):
        text = path.read_text()
        if not any(f".{name}(" in text for name in LOADERS):
            continue
        for call in ast.walk(ast.parse(text)):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in LOADERS
                and ast.unparse(call.func.value) not in WITHOUT_CODE
            ):
                options = {word.arg: ast.unparse(word.value) for word in call.keywords}
                place = f"{path.relative_to(ROOT)}:{call.lineno}"
                assert options.get("trust_remote_code") == "False", place


def test_no_modules_import_each_other() -> None:
    """Imports inside functions count; those for type checkers alone do not."""
    graph = grimp.build_graph(
        "hpclaunch", "monitors", exclude_type_checking_imports=True, cache_dir=None
    )
    above: dict[str, set[str]] = {
        module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules
    }
    TopologicalSorter(above).prepare()  # raises CycleError, which names the cycle


def test_the_command_line_starts_without_the_training_stack() -> None:
    heavy = {"torch", "transformers", "accelerate", "trl", "peft", "datasets", "bitsandbytes"}
    code = f"import sys, hpclaunch.cli.main; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_every_file_fits_in_a_head() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for folder in ("hpclaunch", "monitors", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 300
    }
    assert long == {}


def test_whatever_mypy_is_told_to_leave_out_has_its_reason() -> None:
    """`# type: ignore[code]  # why`: mypy itself finds those that are not needed."""
    silenced, reasoned = "# type: " + "ignore", re.compile(r"ignore\[[a-z, -]+\]  # \S")
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("hpclaunch", "monitors", "tests", "docs")
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if silenced in line and not reasoned.search(line)
    ]
    assert bare == []


def test_no_code_asks_which_objective_it_is() -> None:
    """It asks a field of the objective's row: a new objective touches the two tables alone."""
    names = "|".join(OBJECTIVES)
    asks = re.compile(rf"objective\b[^\n]*(?:==|!=|\bin)\s*[\[({{]?\s*['\"](?:{names})['\"]")
    assert asks.search('if recipe.objective in ("sft", "pretrain"):')
    found = [path for path in (ROOT / "hpclaunch").rglob("*.py") if asks.search(path.read_text())]
    assert found == []
