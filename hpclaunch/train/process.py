"""The start and the end of a process that loads torch: both cost seconds that no training needs."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from hpclaunch.recipe.paths import is_local
from hpclaunch.recipe.schema import Model, Recipe
from hpclaunch.recipe.training import PLAIN_OPTIMIZERS

FLUSH_FAILED = 120
"""Exit code of an interpreter that could not write what was left in its streams."""


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run `main` and exit with the code that it returns, without taking the interpreter apart.

    That takes 1.5 to 2 s of CPU time once torch and Transformers are loaded. What other modules
    registered with `atexit` runs before, threads that are not daemons are waited for, and the
    streams are flushed. An exception that leaves `main` ends the process as usual.
    """
    codes: list[int] = []
    atexit.register(_exit, codes)  # first registered, so it runs last
    codes.append(main())
    sys.exit(codes[0])


def _exit(codes: list[int]) -> None:
    if not codes:
        return
    code = codes[0]
    logging.shutdown()  # registered when logging was imported, so it would come after this
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or FLUSH_FAILED
    os._exit(code)


def peak_resident_bytes() -> int:
    """Return the largest resident size that this process has had, in bytes.

    Not getrusage's: the kernel carries ru_maxrss over from whatever started this program.
    """
    for line in Path("/proc/self/status").read_text("utf-8", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


@contextmanager
def large_imports() -> Iterator[None]:
    """Import without garbage collection, and keep what was imported out of later collections.

    Importing makes a million objects that stay; each collection would look at all of them. What the
    libraries import or read for features that no training here has is spared them (0.7 s of CPU
    time): they may import it later.
    """
    gc.disable()
    try:
        with without_scipy(), _distributions_by_name():
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_scipy() -> Iterator[None]:
    """Hide scipy, which libraries import for what no training here does (0.4 s of CPU time).

    Transformers for the losses of object detectors, `datasets` to read MATLAB's files.
    """
    hides = "scipy" not in sys.modules
    if hides:
        sys.modules["scipy"] = None  # type: ignore[assignment]  # as Python documents it
    try:
        yield
    finally:
        if hides:
            del sys.modules["scipy"]


class _Distributions(Mapping[str, list[str]]):
    """Distributions by the packages that they bring, looked up when one is asked for.

    TRL has all of them listed when it is imported, which reads the file lists of every
    distribution, and then asks for one or two that are called like their package.
    """

    def __init__(self, read: Callable[[], Mapping[str, list[str]]]) -> None:
        self.whole = cache(read)
        """Returns all of them."""

    def __getitem__(self, package: str) -> list[str]:
        name = package.replace("_", "-")
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            return self.whole()[package]
        return [name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())


@contextmanager
def _distributions_by_name() -> Iterator[None]:
    """Have `importlib.metadata.packages_distributions` read nothing that is not asked for."""
    read = metadata.packages_distributions
    metadata.packages_distributions = lambda: _Distributions(read)
    try:
        yield
    finally:
        metadata.packages_distributions = read


def hide_bitsandbytes() -> None:
    """Let this process go on as if bitsandbytes was not installed.

    PEFT imports it wherever it is, and it imports torch's compiler: 1.5 s of CPU time. Must be
    called before PEFT is imported, which Transformers' trainer does, too.
    """
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]  # as Python documents it


def hide_unneeded(recipe: Recipe) -> None:
    """Hide bitsandbytes (see `hide_bitsandbytes`) from a run of `recipe` that does not need it."""
    if not needs_bitsandbytes(recipe):
        hide_bitsandbytes()


def needs_bitsandbytes(recipe: Recipe) -> bool:
    """Return whether method, optimizer or the model's stored weights may need bitsandbytes."""
    optimizer = str(recipe.training.get("optim", "adamw_torch_fused"))
    plain = recipe.method.kind != "qlora" and optimizer in PLAIN_OPTIMIZERS
    return not plain or _may_be_quantized(recipe.model)


def _may_be_quantized(model: Model) -> bool:
    """Return whether the model's weights are stored quantized; True where that is unknown."""
    if model.name.startswith("builtin:"):
        return False
    if is_local(model.name):
        path: object = Path(model.name) / "config.json"
    else:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    try:
        return "quantization_config" in json.loads(Path(str(path)).read_text("utf-8"))
    except (OSError, ValueError):
        return True
