"""`python -m hpclaunch.train.loading.ahead RUN`: a recipe's 4-bit weights, made before its job.

One process quantizes the model on the CPU, matrix by matrix, for the GPUs that will read it: what
it holds at once is a file of the result. A GPU may round single weights otherwise.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import phases
from hpclaunch.train.one_process import import_libraries, run_alone
from hpclaunch.train.prepare import device_of
from hpclaunch.train.process import run_program

FILE_BYTES = 2**30
"""Of a file, and of what is held at once."""


def make(folder: RunFolder, recipe: Recipe) -> str:
    """Put a recipe's 4-bit weights into the cache; return what came of it in words.

    Raises UserError for a recipe whose weights are not made by sharded loading, and where the cache
    cannot hold them.
    """
    from hpclaunch.train import model

    if recipe.method.kind != "qlora":
        raise UserError(
            f"method.kind: {recipe.method.kind} has no 4-bit weights", "leave --quantize out"
        )
    # Loaded as the job would, and refused where it would load whole.
    recipe = replace(recipe, fsdp=replace(recipe.fsdp, loading="sharded"))
    where = model.source(recipe.model)
    tokenizer, _ = model.load_tokenizer(where, recipe)
    phases.begin(f"reading the headers of {recipe.model.name}")
    return quantize(model.load_model(recipe, where, "sdpa", len(tokenizer), 2), device_of(folder))


def quantize(loaded: Any, device: str) -> str:
    """Put the 4-bit weights of a model on meta into the cache; return what came of it in words.

    `device`: type of what will read them. Raises UserError.
    """
    from hpclaunch.train.loading import four_bit
    from hpclaunch.train.loading.kept import open_cache, place
    from hpclaunch.train.loading.kept_files import NotKeptError
    from hpclaunch.train.loading.reader import Reader

    deferred = loaded.deferred_load
    try:
        _, contents = open_cache()
        phases.begin("hashing the model's files")
        digests = [contents.weights(Path(file)) for file in deferred.files]
        kept = place(deferred, four_bit.layers(loaded), device, digests)
        if kept.files(digests=True):
            return f"4-bit weights are there already: {kept.folder}"
        kept.cache.discard(kept.key)
        phases.begin("making 4-bit weights")
        return _write(kept, loaded, Reader(deferred))
    except NotKeptError as error:
        raise UserError(f"the 4-bit weights cannot be kept: {error}") from error
    except OSError as error:
        raise UserError(
            f"the 4-bit weights cannot be kept: {error.filename}: {error.strerror}"
        ) from error


def _write(kept: Any, loaded: Any, reader: Any) -> str:
    from hpclaunch.train.loading.kept_files import check_names, write_config
    from hpclaunch.train.loading.kept_shards import digest
    from hpclaunch.units import duration, size

    started = time.monotonic()
    check_names(dict.fromkeys(name for name in reader.sources), reader)
    kept.check_room(_bytes(loaded))
    making = kept.cache.begin(kept.key)
    try:
        files = _Files(making)
        for tensors in _tensors(loaded, reader):
            files.add(tensors)
        written = files.finish()
        write_config(making, written, files.total, reader)
        digests = {path.name: digest(path) for path in making.iterdir()}
        kept.finish(making, files.total, "cpu", digests)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    spent = duration(time.monotonic() - started)
    return f"4-bit weights made in {spent}: {size(files.total)} in {kept.folder}"


def _tensors(loaded: Any, reader: Any) -> Iterator[dict[str, Any]]:
    """Yield the tensors of each parameter in the quantized model."""
    from hpclaunch.train.loading import four_bit

    layers = {f"{name}.weight": each for name, each in four_bit.layers(loaded).items()}
    names = [name for name in reader.dtypes if reader.sources.get(name)]
    for number, name in enumerate(names):
        phases.count(number, len(names), "tensors")
        part = reader.only_source(name)
        if name not in layers:
            yield {name: part[:].to(reader.dtypes[name])}
            continue
        module = layers[name]
        codes = four_bit.quantize_whole(part, module)
        state = module.quant_state.as_dict(packed=True)
        yield {name: codes} | {f"{name}.{key}": value for key, value in state.items()}


@dataclass
class _Files:
    """Safetensors files, each written when it is full; they are named when all are."""

    folder: Path
    total: int = 0
    files: list[list[str]] = field(default_factory=list)
    _held: dict[str, Any] = field(default_factory=dict)
    _bytes: int = 0

    def add(self, tensors: Mapping[str, Any]) -> None:
        """Add tensors that belong into one file."""
        self._held |= tensors
        self._bytes += sum(each.numel() * each.itemsize for each in tensors.values())
        if self._bytes >= FILE_BYTES:
            self._write()

    def finish(self) -> dict[str, list[str]]:
        """Return the names of the tensors in each file."""
        if self._held:
            self._write()
        named = {}
        for number, names in enumerate(self.files, start=1):
            name = f"model-{number:05d}-of-{len(self.files):05d}.safetensors"
            (self.folder / f"{number}.part").rename(self.folder / name)
            named[name] = names
        return named

    def _write(self) -> None:
        from safetensors.torch import save_file

        self.files.append(list(self._held))
        whole = {name: each.contiguous() for name, each in self._held.items()}
        save_file(whole, self.folder / f"{len(self.files)}.part", {"format": "pt"})
        self.total += self._bytes
        self._held, self._bytes = {}, 0


def _bytes(loaded: Any) -> int:
    """Return about how large the files will be."""
    weights = sum(each.numel() * each.itemsize for each in loaded.parameters())
    scales = 0
    for each in loaded.parameters():
        state = getattr(each, "quant_state", None)
        scales += 0 if state is None else state.absmax.numel() * state.absmax.itemsize
    return int(weights + scales)


def work(folder: RunFolder, recipe: Recipe) -> None:
    """Make the weights for a run."""
    import_libraries(recipe)
    print(make(folder, recipe))


def main(arguments: list[str]) -> int:
    """Make the weights for the run folder named by the one argument; return the exit code."""
    return run_alone("hpclaunch.train.loading.ahead", arguments, work)


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
