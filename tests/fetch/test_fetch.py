"""`hpclaunch fetch` against a hub on loopback: whole, cut, changed, gated, wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.fetch.download import Progress, fetch
from hpclaunch.fetch.wanted import Wanted, wanted
from hpclaunch.forecast.hub_access import dataset_in_cache, in_cache
from tests.hub import Hub, Repository, serving

WEIGHTS = os.urandom(400_000)
ROWS = "".join(json.dumps({"instruction": f"q{n}", "output": "a"}) + "\n" for n in range(50))
CARD = b"""---
configs:
- {config_name: one, data_files: a/1.jsonl}
- {config_name: two, data_files: a/1.jsonl}
---
"""
MODEL = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "original/consolidated.safetensors": b"x" * 1000,
    "pytorch_model.bin": b"x" * 1000,
    "tokenizer.json": b"{}",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    repositories = {
        "models/org/m": Repository(MODEL),
        "models/org/pickled": Repository({"pytorch_model.bin": b"x"}),
        "models/org/both": Repository(MODEL),
        "datasets/org/both": Repository({"train.jsonl": ROWS.encode()}),
        "datasets/Org/MyData": Repository({"data/train.jsonl": ROWS.encode()}),
        "datasets/org/several": Repository({"README.md": CARD, "a/1.jsonl": b"{}\n"}),
        "models/org/gated": Repository({}, 403, "GatedRepo"),
        "models/org/private": Repository({}, 401, "RepoNotFound"),
    }
    with serving(Hub(repositories)) as served:
        yield served


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


OFFLINE_JOB = """
from datasets import load_dataset
from huggingface_hub import snapshot_download
from hpclaunch.train.fetch.listing import UNWANTED, WANTED
print(len(load_dataset("Org/MyData", None, revision=None, split="train")))
print(snapshot_download("org/m", allow_patterns=[*WANTED], ignore_patterns=[*UNWANTED]))
"""


@pytest.mark.parametrize(
    ("part", "most", "least"),
    [
        (WEIGHTS[:300_000], 100_000, 100_000),
        (WEIGHTS, 0, 0),
        (b"of another file" * 1000, 2 * len(WEIGHTS), len(WEIGHTS)),
    ],
    ids=["cut", "all of it", "damaged"],
)
def test_what_a_killed_process_left_of_a_file_is_gone_on_with(
    hub: Hub, environment: dict[str, str], part: bytes, most: int, least: int
) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    blobs = Path(environment["HF_HOME"]) / "hub/models--org--m/blobs"
    blobs.mkdir(parents=True)
    left = blobs / f"{digest}.0123abcd.incomplete"
    left.write_bytes(part)
    os.utime(left, (1, 1))
    done = fetch(wanted(["models/org/m"]), Path(sys.prefix), environment)
    assert done.result is not None
    assert least <= hub.sent["model.safetensors"] <= most
    assert (blobs / digest).read_bytes() == WEIGHTS
    assert in_cache("org/m", environment)
    assert not list(blobs.glob("*incomplete"))


def test_offline_jobs_find_what_was_fetched_though_the_connection_broke(
    hub: Hub, environment: dict[str, str]
) -> None:
    hub.cut["model.safetensors"] = 1
    seen: list[Progress] = []
    done = fetch(
        wanted(["models/org/m", "Org/MyData"]), Path(sys.prefix), environment, progress=seen.append
    )
    assert done.result is not None
    model, data = done.result["items"]
    assert (model["kind"], model["files"], model["fetched_bytes"]) == ("model", 3, 400_004)
    assert (data["kind"], data["files"], data["bytes"]) == ("dataset", 1, len(ROWS))
    assert hub.sent["model.safetensors"] < 1.6 * len(WEIGHTS), "it went on where it was cut"
    assert any(each.total == 400_004 and each.done == 400_004 for each in seen)
    assert in_cache("org/m", environment) and dataset_in_cache("Org/MyData", environment)
    job = subprocess.run(
        [sys.executable, "-c", OFFLINE_JOB],
        env=environment | {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert job.stdout.split() == ["50", model["folder"]]


Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def here(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process download: its library reads the variables once."""
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(constants, "HF_HUB_CACHE", f"{environment['HF_HOME']}/hub")
    for module in (constants, hf_api):
        monkeypatch.setattr(module, "ENDPOINT", environment["HF_ENDPOINT"], raising=False)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE",
        environment["HF_ENDPOINT"] + "/{repo_id}/resolve/{revision}/{filename}",
    )  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    yield


def requested(*names: str, kind: str | None = "model", dry_run: bool = False) -> dict[str, Any]:
    items = [{"name": name, "kind": kind, "revision": None, "subset": None} for name in names]
    return {"items": items, "dry_run": dry_run, "wait_s": 0}


def run(request: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    from hpclaunch.train.fetch.__main__ import _fetch

    capsys.readouterr()
    _fetch(request)
    written: dict[str, Any] = {}
    for line in capsys.readouterr().out.splitlines():
        written |= json.loads(line)
    return written


@pytest.mark.usefixtures("here")
def test_what_is_there_is_not_fetched_again(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    planned = run(requested("org/m", dry_run=True), capsys)
    assert planned["plan"]["needed_bytes"] == 400_004
    assert "result" not in planned and not hub.sent["model.safetensors"]
    first = run(requested("org/m"), capsys)["result"]["items"][0]
    sent = hub.sent["model.safetensors"]
    second = run(requested("org/m"), capsys)["result"]["items"][0]
    assert (first["fetched_bytes"], second["fetched_bytes"]) == (400_004, 0)
    assert hub.sent["model.safetensors"] == sent == len(WEIGHTS)


@pytest.mark.usefixtures("here")
def test_a_file_that_changed_on_the_way_is_fetched_again_and_then_refused(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    run(requested("org/m"), capsys)
    from huggingface_hub import constants

    weights = next(Path(constants.HF_HUB_CACHE).glob("**/snapshots/*/model.safetensors"))
    weights.write_bytes(b"\0" * len(WEIGHTS))  # a bit that fell over on the disk
    run(requested("org/m"), capsys)
    assert weights.read_bytes() == WEIGHTS
    weights.unlink()
    weights.parent.parent.parent.joinpath("blobs").rename(weights.parents[3] / "gone")
    hub.changed["model.safetensors"] = b"\1" * len(WEIGHTS)
    with pytest.raises(UserError, match=r"model\.safetensors came twice with other contents"):
        run(requested("org/m"), capsys)
    assert not weights.exists(), "no job may find it"


@pytest.mark.usefixtures("here")
def test_a_disk_without_room_is_refused_before_anything_is_fetched(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 200_000))
    with pytest.raises(UserError, match=r"0\.4 MB are still to be fetched, and .* 0\.2 MB free"):
        run(requested("org/m"), capsys)
    assert not hub.sent["model.safetensors"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("org/gated", "model", "org/gated is gated, and this account has no access"),
        ("org/gated", None, "org/gated is gated"),
        ("org/private", None, "no recipe, task, model or dataset called org/private"),
        ("org/none", "model", "model org/none is not on the hub"),
        ("org/none", "dataset", "dataset org/none is not on the hub"),
        ("org/both", None, "a model and a dataset called org/both"),
        ("org/pickled", "model", r"has no \*\.safetensors"),
    ],
)
def test_what_cannot_be_fetched_is_named(
    name: str, kind: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=message):
        run(requested(name, kind=kind), capsys)


@pytest.mark.usefixtures("here")
def test_a_hub_that_answers_slow_down_is_waited_for(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.too_often = 3
    assert "result" in run(requested("org/m"), capsys)
    hub.too_often = 1_000
    with pytest.raises(UserError, match="asked too often"):
        run(requested("org/m"), capsys)


@pytest.mark.usefixtures("here")
def test_a_revision_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    request = requested("org/m")
    request["items"][0]["revision"] = "v9"
    with pytest.raises(UserError, match="no such revision"):
        run(request, capsys)


def test_a_wrong_name_gets_the_nearest_recipe(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match="did you mean 'llama3-8b-lora'"):
        fetch([Wanted("llama3-8b-loar")], Path(sys.prefix), environment)


def test_a_dataset_of_several_configurations_needs_the_name_of_one(
    environment: dict[str, str],
) -> None:
    message = r"several configurations: \['one', 'two'\].*datasets/org/several:CONFIG"
    with pytest.raises(UserError) as refused:
        fetch([Wanted("org/several", "dataset")], Path(sys.prefix), environment)
    assert re.search(message, str(refused.value))
