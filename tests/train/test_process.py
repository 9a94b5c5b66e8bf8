"""A training process's end and what it does without: codes, output and hooks are all there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpclaunch.recipe.load import load
from hpclaunch.train.process import needs_bitsandbytes

START = """
import atexit, sys, threading, time
from hpclaunch.train.process import run_program
def main():
    import torch
    def later():
        time.sleep(0.2)
        print("thread")
    threading.Thread(target=later).start()
    atexit.register(print, "hook")
    sys.stdout.write("unflushed ")
"""


def ends(program: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        check=False,
        timeout=60,
    )


@pytest.mark.train
@pytest.mark.parametrize("code", [0, 2])
def test_threads_hooks_and_output_come_before_the_exit_code(code: int) -> None:
    done = ends(f"{START}    return {code}\nrun_program(main)")
    assert (done.returncode, done.stdout, done.stderr) == (code, "unflushed thread\nhook\n", "")


@pytest.mark.train
def test_an_exception_ends_it_as_usual() -> None:
    done = ends(f"{START}    raise KeyError('x')\nrun_program(main)")
    assert done.returncode == 1
    assert done.stdout == "unflushed thread\nhook\n"
    assert done.stderr.endswith("KeyError: 'x'\n")


def test_output_that_cannot_be_written_is_no_success() -> None:
    program = (
        "from hpclaunch.train.process import run_program\nrun_program(lambda: print('x') or 0)"
    )
    with Path("/dev/full").open("w") as full:
        done = ends(program, full.fileno())
    assert done.returncode == 120


def test_objects_do_not_run_their_destructors() -> None:
    """This is what costs seconds when the objects are those of torch and Transformers."""
    program = (
        "from hpclaunch.train.process import run_program\n"
        "class Kept:\n"
        "    def __del__(self): print('destroyed')\n"
        "kept = Kept()\n"
        "run_program(lambda: 0)"
    )
    assert ends(program).stdout == ""


def local_model(folder: Path, **fields: object) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **fields}))
    return str(folder)


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        ([], False),
        (["method.kind=full"], False),
        (["method.kind=qlora", "model.dtype=bfloat16"], True),
        (["training.optim=adamw_8bit"], True),
        (["training.optim=adafactor"], False),
    ],
)
def test_what_needs_bitsandbytes(overrides: list[str], needed: bool) -> None:
    assert needs_bitsandbytes(load("tiny", overrides)) is needed


def test_weights_that_are_stored_quantized_may_need_it(tmp_path: Path) -> None:
    plain = local_model(tmp_path / "plain")
    packed = local_model(tmp_path / "packed", quantization_config={"quant_method": "bitsandbytes"})
    assert not needs_bitsandbytes(load("tiny", [f"model.name={plain}"]))
    assert needs_bitsandbytes(load("tiny", [f"model.name={packed}"]))
    assert needs_bitsandbytes(load("tiny", ["model.name=owner/never-fetched"])), "unknown"


def test_the_large_imports_leave_out_what_no_training_has() -> None:
    """scipy is hidden meanwhile alone, and packages are found as ever."""
    program = (
        "import importlib.metadata as metadata, sys\n"
        "from hpclaunch.train.process import large_imports\n"
        "before = metadata.packages_distributions\n"
        "with large_imports():\n"
        "    found = metadata.packages_distributions()\n"
        "    try:\n"
        "        import scipy\n"
        "    except ImportError:\n"
        "        print('hidden')\n"
        "print(found['torch'], found['yaml'], found.get('no_such_package'), 'yaml' in found)\n"
        "assert found['yaml'] == before()['yaml']\n"
        "assert metadata.packages_distributions is before\n"
        "import scipy\n"
        "print(scipy.__name__)\n"
    )
    done = ends(program)
    assert done.stdout == "hidden\n['torch'] ['PyYAML'] None True\nscipy\n", done.stderr


def test_the_peak_of_memory_is_not_that_of_what_started_the_process() -> None:
    """The kernel's ru_maxrss is: it passes through fork and exec."""
    ask = "from hpclaunch.train.process import peak_resident_bytes; print(peak_resident_bytes())"
    starter = "b = b'x' * 300_000_000; import os; "
    starter += f"os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {ask!r}])"
    done = subprocess.run([sys.executable, "-c", starter], capture_output=True, check=True)
    assert 5e6 < int(done.stdout) < 150e6
