"""What a preflight left goes into the site's record, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hpclaunch.errors import UserError
from hpclaunch.forecast import measurements
from hpclaunch.forecast.measurements import checkpoint_rate_at
from hpclaunch.forecast.preflight_results import keep
from hpclaunch.predict.hardware import host_rates_of, offload_basis
from hpclaunch.run.events import log_event
from hpclaunch.run.find import known
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.site.load import gpus
from hpclaunch.site.measured import measured, name_at
from tests.run.making import run_in

RECORD = Record(
    name="preflight-1", created=1.0, user="u", host="h", command=[], mode="srun", hpclaunch="0",
    recipe="r", site="generic", nodes=2, processes_per_node=4, device="gpu", gpu="h100",
)  # fmt: skip


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/hpclaunch/measured/generic.json"


def left(tmp_path: Path, **changes: Any) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir(exist_ok=True)
    rows = [{"bytes": size, "gather_gb_s": size / 1e6, "reduce_gb_s": 2.0} for size in (1e6, 64e6)]
    found = {"when": 5.0, "nodes": 2, "per_node": 4, "inside": rows, "across": rows[:1]}
    folder.rates.write_text(json.dumps({**found, **changes}))
    return folder


def test_the_largest_tensors_count(tmp_path: Path, config: Path) -> None:
    kept = keep(left(tmp_path), RECORD)
    assert kept.path == config
    found = measured("generic")
    assert found.inside["h100"].gather_gb_s == 64
    assert (found.inside["h100"].ranks, found.inside["h100"].nodes) == (4, 1)
    assert found.across["h100"].gather_gb_s == 1
    assert (found.across["h100"].ranks, found.across["h100"].nodes) == (8, 2)


def test_copies_to_and_from_the_host_are_kept_and_planned_with(tmp_path: Path) -> None:
    copies = {"to_gpu_gb_s": 11.0, "from_gpu_gb_s": 13.0, "alone_gb_s": 24.0, "gpus": 4}
    kept = keep(left(tmp_path, host=copies), RECORD)
    assert kept.host == measured("generic").host["h100"]
    keep(left(tmp_path, host=None), RECORD)
    found = measured("generic").host["h100"]
    assert (found.to_gpu_gb_s, found.alone_gb_s, found.when) == (11.0, 24.0, 5.0)
    rates = host_rates_of(gpus()["h100"], found)
    assert (rates.link_gb_s, rates.assumed) == (11.0, False), "the slower way, and no range"
    assert host_rates_of(gpus()["h100"], None).assumed
    (line,) = offload_basis(rates, found).measured
    assert "11 GB/s between each of 4 GPUs and their host (measured by preflight" in line


def test_what_was_known_of_other_links_and_kinds_stays(tmp_path: Path) -> None:
    keep(left(tmp_path), RECORD)
    keep(left(tmp_path, nodes=1, across=None), msgspec.structs.replace(RECORD, gpu="a40"))
    keep(left(tmp_path, inside=None), msgspec.structs.replace(RECORD, device="cpu", gpu=None))
    found = measured("generic")
    assert set(found.inside) == {"h100", "a40"}
    assert set(found.across) == {"h100", "cpu"}


@pytest.mark.parametrize("text", [None, "", '{"when": 1}', "[]"])
def test_nothing_measured_keeps_nothing(tmp_path: Path, config: Path, text: str | None) -> None:
    folder = left(tmp_path)
    folder.rates.unlink() if text is None else folder.rates.write_text(text)
    with pytest.raises(UserError, match="measured nothing"):
        keep(folder, RECORD)
    assert not config.exists()


def test_an_unknown_kind_and_a_damaged_record_lose_nothing(tmp_path: Path, config: Path) -> None:
    with pytest.raises(UserError, match="GPU type is not known"):
        keep(left(tmp_path), msgspec.structs.replace(RECORD, gpu=None))
    config.parent.mkdir(parents=True)
    config.write_text("damaged")
    with pytest.raises(UserError, match="cannot be read"):
        keep(left(tmp_path), RECORD)
    assert config.read_text() == "damaged"


def test_a_record_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where the folder would be")
    with pytest.raises(UserError, match="cannot be kept in"):
        keep(left(tmp_path), RECORD)


def test_clusters_without_a_profile_keep_apart(tmp_path: Path, config: Path) -> None:
    """One home on two clusters: the other one's network is another."""
    keep(left(tmp_path), msgspec.structs.replace(RECORD, cluster="alpha"))
    assert name_at("generic", "alpha") == "generic-alpha"
    assert measured("generic-alpha").inside["h100"].gather_gb_s == 64
    assert not measured("generic").inside
    assert not measured(name_at("generic", "beta/../x")).inside
    assert name_at("baskerville", "alpha") == "baskerville", "the profile says which cluster it is"
    assert config.with_name("generic-alpha.json").is_file()


def test_a_run_on_another_cluster_is_no_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", str(tmp_path / "runs"))
    folder = run_in(tmp_path / "runs/one", cluster="alpha")
    log_event(folder.events, "checkpoint", step=1, seconds=2.0, bytes=4 * 10**9, path="x")
    for cluster, rate in (("alpha", 2.0), ("beta", None), (None, None)):
        monkeypatch.setattr(measurements, "cluster_name", lambda name=cluster: name)
        found = checkpoint_rate_at("generic", 10**9)
        assert (found and found.gb_s) == rate


def test_runs_are_read_once_until_there_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submission forecasts several layouts, among what may be a thousand runs."""
    monkeypatch.setenv("HPCLAUNCH_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setattr(measurements, "cluster_name", lambda: "alpha")
    read = []

    def counting(place: Path, most: int) -> Any:
        read.append(place)
        return known(place, most)

    monkeypatch.setattr(measurements, "known", counting)
    folder = run_in(tmp_path / "runs/one", cluster="alpha")
    log_event(folder.events, "checkpoint", step=1, seconds=2.0, bytes=4 * 10**9, path="x")
    rates = [checkpoint_rate_at("generic", 10**9) for _ in range(3)]
    assert [rate and rate.run for rate in rates] == ["one"] * 3
    assert len(read) == 1
    newer = run_in(tmp_path / "runs/two", cluster="alpha", created=2000.0)
    log_event(newer.events, "checkpoint", step=1, seconds=1.0, bytes=4 * 10**9, path="x")
    rate = checkpoint_rate_at("generic", 10**9)
    assert rate is not None and rate.gb_s == 4
