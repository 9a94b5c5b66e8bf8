"""4-bit weights in the cache: whole or not there, and never trusted when damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.recipe.load import load
from hpclaunch.train import model
from hpclaunch.train.loading import kept
from hpclaunch.train.loading.files import deferred_load
from hpclaunch.train.loading.four_bit_loading import FourBitLoading
from hpclaunch.train.loading.reader import Reader
from tests.train.test_loading import BF16, KEPT, saved

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random model's folder."""
    return saved(tmp_path_factory.mktemp("base") / "model", "llama")


@pytest.fixture
def alone() -> Iterator[None]:
    """Make this process the only rank."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache's folder of 4-bit weights."""
    root = tmp_path / "cache"
    monkeypatch.setenv("HPCLAUNCH_CACHE", str(root))
    return root / "quantized"


def start(base: Path) -> tuple[list[str], bytes]:
    """Load a model in 4 bits as a rank does; return what was logged, and a matrix's codes."""
    import torch
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import init_device_mesh

    recipe = load("tiny", [f"model.name={base}", BF16, "method.kind=qlora", "fsdp.loading=sharded"])
    loaded: Any = model.load_model(recipe, model.source(recipe.model), "sdpa", 10, 2)
    deferred = deferred_load(loaded)
    assert deferred is not None
    fully_shard(loaded, mesh=init_device_mesh("cpu", (1,)))
    lines: list[str] = []
    loading = FourBitLoading(Reader(deferred), deferred, lines.append)
    loading.load(loaded)
    loading.keep_weights(loaded)
    codes = loaded.model.layers[1].mlp.up_proj.weight.to_local().detach()
    return [*lines, loading.how], codes.view(torch.uint8).numpy().tobytes()


@pytest.mark.usefixtures("alone")
def test_a_damaged_checkpoint_is_made_anew(base: Path, cache: Path) -> None:
    made, codes = start(base)
    assert made[0].startswith("4-bit weights kept for later starts: ") and made[1] == ""
    assert start(base) == (["", KEPT][1:], codes)
    (file,) = cache.glob("*/model-00001-of-00001.safetensors")
    os.utime(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    mended, same = start(base)
    assert mended[0].startswith("4-bit weights kept") and same == codes
    assert file.read_bytes() == whole
    assert sorted(each.name for each in cache.iterdir()) == [file.parent.name]


@pytest.mark.usefixtures("alone")
def test_other_files_of_the_base_have_weights_of_their_own(
    base: Path, cache: Path, tmp_path: Path
) -> None:
    """By content: the same files elsewhere are the same."""
    _, codes = start(base)
    again = shutil.copytree(base, tmp_path / "again")
    assert start(again) == ([KEPT], codes)
    other = saved(tmp_path / "other", "llama", initializer_range=0.5)
    log, others = start(other)
    assert log[0].startswith("4-bit weights kept") and others != codes
    assert len(list(cache.iterdir())) == 2


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("seen", [True, False], ids=["room is checked", "quota"])
def test_a_full_disk_leaves_nothing_and_training_goes_on(
    base: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, *, seen: bool
) -> None:
    """A quota shows itself only while files are written."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    root = cache.parent
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(root)], check=True)
    try:
        root.chmod(0o700)
        if not seen:
            monkeypatch.setattr(kept, "ROOM", 0)
        log, codes = start(base)
        assert log[0].startswith("4-bit weights are not kept: ") and codes
        assert ("No space left on device" in log[0]) != seen
        assert ("0.0 MB" in log[0]) == seen
        assert list(cache.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


@pytest.mark.usefixtures("alone")
def test_two_jobs_at_once_keep_one(base: Path, cache: Path) -> None:
    """The slower one's is thrown away."""
    from hpclaunch.run.content_cache import QUANTIZED, ContentCache

    both = ContentCache(cache.parent, QUANTIZED)
    assert both.open()
    slower = both.begin("a" * 32)
    start(base)
    (entry,) = (each for each in cache.iterdir() if not each.name.startswith("."))
    (slower / "file").write_bytes(b"other")
    both.finish(entry.name, slower, {}, {"file": (5, "")})
    assert slower.exists() and not (entry / "file").exists()
    assert start(base)[0] == [KEPT]
