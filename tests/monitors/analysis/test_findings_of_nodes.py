"""Findings on hosts, networks and failing devices; and how many are told, in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitors.analysis.analysis import Analysis, JobContext, analyse_folder
from monitors.records import Note
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from tests.monitors import traces
from tests.monitors.judging import in_training, job, only, part, spins
from tests.monitors.recorded import NOON
from tests.monitors.traces import Values

# Hosts


def test_memory_pressure_is_told_before_the_kill(tmp_path: Path) -> None:
    near = lambda n, t: {"cgroup_mem_mib": 250_000.0} if (n, t) == ("n2", 300) else {}  # noqa: E731
    finding = only(job(tmp_path, host=near))
    assert finding.key == "host-memory"
    assert finding.headline == "n2 came close to running out of memory."


def test_a_kill_for_memory_comes_first(tmp_path: Path) -> None:
    def killed(node: str, t: int) -> Values:
        return {"oom_kills": 1 if node == "n1" and t > 300 else 0}

    found = job(tmp_path, spins(0.4), killed)
    assert found.findings[0].headline == found.verdict == "n1 ran out of memory."
    assert found.findings[1].key == "communication"


def test_swapping(tmp_path: Path) -> None:
    def swaps(node: str, t: int) -> Values:
        return {"swap_mib_s": 40.0, "psi_memory_pct": 30.0} if node == "n2" else {}

    finding = only(job(tmp_path, host=swaps))
    assert finding.headline == "n2 swapped memory to disk during the training."
    assert "40.0 MiB/s" in finding.evidence


def test_swap_filled_long_ago_is_no_finding(tmp_path: Path) -> None:
    stale = lambda _n, _t: {"swap_used_mib": 8000.0, "swap_mib_s": 0.0}  # noqa: E731
    assert job(tmp_path, host=stale).findings == ()


def test_too_few_cores(tmp_path: Path) -> None:
    squeezed = lambda _n, t: {"cgroup_throttled_s": 0.5 * t}  # noqa: E731
    hungry = in_training(lambda _n, _i, t: {"sm_pct": 2, "power_w": 80.0} if part(t, 0.3) else {})
    found = job(tmp_path, hungry, squeezed)
    assert found.verdict == "The job had too few CPU cores on n1 and n2."
    assert found.findings[0].lost_share == pytest.approx(0.3, abs=0.02), (
        "no more than the GPUs idled"
    )


def test_full_cores_matter_where_the_gpus_wait_for_them(tmp_path: Path) -> None:
    full = lambda _n, _t: {"cpu_busy_pct": 99.0, "psi_cpu_pct": 70.0}  # noqa: E731
    hungry = in_training(lambda _n, _i, t: {"sm_pct": 2, "power_w": 80.0} if part(t, 0.3) else {})
    assert job(tmp_path / "waits", hungry, full).findings[0].key == "full-cores"
    assert job(tmp_path / "works", host=full).findings == ()


# The network between nodes


def over_ethernet(_node: str, t: int) -> Values:
    return {"net_tx_bytes": 900_000_000 * t, "ib_tx_bytes": 1000 * t, "ib_rx_bytes": 1000 * t}


def test_sockets_beside_an_infiniband_that_is_not_used(tmp_path: Path) -> None:
    found = job(tmp_path, spins(0.5), over_ethernet)
    assert found.findings[0].key == "sockets"
    assert "Ethernet sockets" in found.verdict
    assert "900 MB/s" in found.findings[0].evidence


def test_what_the_log_says_of_the_network_is_evidence(tmp_path: Path) -> None:
    still = lambda _n, t: {"ib_tx_bytes": 0, "ib_rx_bytes": 0}  # noqa: E731
    assert job(tmp_path / "a", host=still).findings == ()
    finding = only(job(tmp_path / "b", host=still, transport="Socket"))
    assert (finding.key, "network Socket" in finding.evidence) == ("sockets", True)
    assert job(tmp_path / "c", transport="Socket").findings == (), "InfiniBand carries the load"


def test_a_cluster_without_infiniband_is_not_told_to_use_it(tmp_path: Path) -> None:
    none = lambda n, t: over_ethernet(n, t) | {"ib_tx_bytes": None, "ib_rx_bytes": None}  # noqa: E731
    assert job(tmp_path, host=none).findings == ()


# Devices that fail


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("GPU 2: Xid 79, GPU has fallen off the bus", "errors"),
        ("GPU 2: 3 uncorrected ECC errors", "errors"),
        ("GPU 2: Xid 48", "errors"),
        ("GPU 2: Xid 137", "errors"),
        ("GPU 2: a row of its memory waits to be remapped: it needs a reset", "errors"),
        ("GPU 2 is no longer sampled: GPU is lost", "lost-gpu"),
    ],
)
def test_device_errors_are_the_verdict(tmp_path: Path, text: str, key: str) -> None:
    traces.record(tmp_path, seconds=60)
    path = filenames.path_of(tmp_path, "n2", filenames.SAMPLES)
    path.write_text(path.read_text() + json_lines.line(Note(NOON + 30, text)))
    found = analyse_folder(tmp_path)
    assert found.findings[0].key == key
    assert found.verdict.startswith("n2 GPU 2 ")


@pytest.mark.parametrize(
    ("number", "keys"), [(31, ["program-fault"]), (13, ["program-fault"]), (45, []), (43, [])]
)
def test_what_a_program_does_to_itself_is_not_put_down_to_the_card(
    tmp_path: Path, number: int, keys: list[str]
) -> None:
    traces.record(tmp_path, seconds=60)
    path = filenames.path_of(tmp_path, "n2", filenames.SAMPLES)
    path.write_text(path.read_text() + json_lines.line(Note(NOON + 30, f"GPU 2: Xid {number}")))
    found = analyse_folder(tmp_path)
    assert [finding.key for finding in found.findings if finding.critical] == keys
    assert (found.verdict == "The program did something illegal on n2 GPU 2.") == bool(keys)


def test_at_most_five_findings_and_the_dearest_first(tmp_path: Path) -> None:
    def everything(node: str, t: int) -> Values:
        return over_ethernet(node, t) | {
            "cgroup_throttled_s": 0.5 * t,
            "swap_mib_s": 20.0,
            "cgroup_mem_mib": 250_000.0,
        }

    gpu = in_training(
        lambda _n, _i, t: {"sm_pct": 1} if part(t, 0.3) else {"power_w": 100.0, "throttle": 0x20}
    )
    found = job(tmp_path, gpu, everything, waited=4.0, every=5, checkpoint_s=20.0)
    assert len(found.findings) == 5
    ordinary = [finding.lost_share or 0.0 for finding in found.findings if not finding.critical]
    assert ordinary == sorted(ordinary, reverse=True)


# What the ranks' main threads did, on CPUs


def ranks(**shares: tuple[float, float]) -> traces.HostFault:
    """Each node's ranks ran and stood in line for these percents of the time."""

    def values(node: str, _t: int) -> Values:
        ran, queued = shares.get(node, shares["others"])
        return {"rank_ran_pct": ran, "rank_queued_pct": queued}

    return values


def on_cpus(folder: Path, host: traces.HostFault, **events: Any) -> Analysis:
    return job(folder, host=host, nodes=4, gpus=0, **events)


@pytest.mark.parametrize("shares", [(85, 1), (70, 8)], ids=["alone", "a little crowded"])
def test_ranks_that_wait_for_cores_and_for_each_other_in_turn_are_well(
    tmp_path: Path, shares: tuple[float, float]
) -> None:
    found = on_cpus(tmp_path, ranks(others=shares))
    assert (found.verdict, found.findings) == ("Nothing stands out.", ())


@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize(
    "shares",
    [(21, 33), (9, 34), (24, 75)],
    ids=["four ranks on two cores", "with other programs there", "four ranks on one core"],
)
def test_ranks_that_queue_for_cores(
    tmp_path: Path, shares: tuple[float, float], nodes: int
) -> None:
    found = job(tmp_path, host=ranks(others=shares), nodes=nodes, gpus=0, seconds=150)
    (finding,) = [each for each in found.findings if each.key == "rank-queue"]
    assert finding.lost_share == pytest.approx(shares[1] / 100)
    assert finding.headline.startswith("The ranks queued for cores on n1")
    assert found.verdict != "Nothing stands out."
    assert f"waited for a core {shares[1]}% of the time and ran {shares[0]}%" in finding.evidence


def test_a_rank_that_queues_beside_its_busy_gpu_costs_nothing(tmp_path: Path) -> None:
    assert job(tmp_path / "busy", host=ranks(others=(60, 30)), nodes=1, gpus=1).findings == ()
    several = only(job(tmp_path / "several", host=ranks(others=(60, 30)), nodes=1))
    assert several.headline == "The ranks queued for cores on n1, up to 30% of the training."
    hungry = in_training(lambda _n, _i, t: {"sm_pct": 2, "power_w": 80.0} if part(t, 0.3) else {})
    found = job(tmp_path / "hungry", hungry, ranks(others=(60, 30)), nodes=1, gpus=1)
    assert only(found).key == "rank-queue"


def test_more_threads_than_cores_without_ranks_known(tmp_path: Path) -> None:
    """As a program of the user's own leaves it."""
    crowded = lambda _n, _t: {"cpu_busy_pct": 99.6, "psi_cpu_pct": 88.0}  # noqa: E731
    found = job(tmp_path, host=crowded, nodes=1, gpus=0)
    assert only(found).key == "crowded"
    assert found.verdict == "More threads wanted to run on n1 than there are cores."
    full = lambda _n, _t: {"cpu_busy_pct": 99.6, "psi_cpu_pct": 8.0}  # noqa: E731
    assert job(tmp_path / "full", host=full, nodes=1, gpus=0).findings == ()


def test_cores_that_wait_for_disks(tmp_path: Path) -> None:
    waits = lambda _n, _t: {"cpu_busy_pct": 3.0, "cpu_iowait_pct": 60.0}  # noqa: E731
    found = job(tmp_path, host=waits, nodes=1, gpus=0)
    assert "n1 waited for disks 60% of the time" in found.verdict


@pytest.mark.parametrize("nodes", [3, 4, 9])
def test_a_node_whose_ranks_do_not_wait_is_waited_for(tmp_path: Path, nodes: int) -> None:
    host = ranks(others=(30, 2), n3=(90, 3))
    finding = only(job(tmp_path, host=host, nodes=nodes, gpus=0))
    assert finding.key == "slow-peer"
    assert finding.lost_share == pytest.approx(0.61, abs=0.01)
    assert finding.headline == (
        "n3 held the job back: the others waited for it 61% of the training."
    )
    assert "have more to do" in finding.cause


def test_of_two_nodes_the_one_that_does_not_wait_is_named(tmp_path: Path) -> None:
    found = job(tmp_path, host=ranks(others=(90, 3), n2=(30, 2)), nodes=2, gpus=0)
    assert found.verdict.startswith("n1 held the job back: ")


def test_where_half_of_the_nodes_do_not_wait_none_is_named(tmp_path: Path) -> None:
    host = ranks(others=(90, 3), n1=(30, 2), n2=(30, 2))
    assert on_cpus(tmp_path, host).findings == ()


def test_a_node_whose_cores_others_take_is_told_so(tmp_path: Path) -> None:
    finding = only(on_cpus(tmp_path, ranks(others=(21, 20), n2=(20, 70))))
    assert finding.headline.startswith("n2 held the job back: the others waited for it 49%")
    assert "70% of it in line for a core" in finding.evidence
    assert "takes its cores" in finding.cause


def test_a_node_with_gpus_whose_ranks_stand_in_line_for_cores(tmp_path: Path) -> None:
    """While they wait for their GPU they spin, so that alone says nothing."""
    spin = ranks(others=(99, 0), n2=(60, 38))
    finding = only(job(tmp_path, host=spin, nodes=4))
    assert finding.headline == "n2 held the job back: the others waited for it 38% of the training."
    assert job(tmp_path / "well", host=ranks(others=(60, 0), n2=(99, 0)), nodes=4).findings == ()


def test_ranks_that_all_wait_at_once_wait_for_the_network(tmp_path: Path) -> None:
    finding = only(on_cpus(tmp_path, ranks(others=(20, 2))))
    assert finding.key == "communication"
    assert finding.lost_share == pytest.approx(0.715, abs=0.01)
    assert "6,000 MB/s a node out over InfiniBand" in finding.evidence


def test_what_they_wait_for_data_is_not_the_networks(tmp_path: Path) -> None:
    finding = only(on_cpus(tmp_path, ranks(others=(20, 1)), waited=7.0))
    assert finding.key == "data"
    assert finding.lost_share == pytest.approx(0.7, abs=0.01)


def test_checkpoints_every_few_seconds_are_not_the_networks(tmp_path: Path) -> None:
    """As made for real: no cell is free of them, and all ranks wait while they are written."""
    traces.record(tmp_path, nodes=4, gpus=0, seconds=120, host=ranks(others=(20, 2)))
    events: list[dict[str, Any]] = []
    for at in range(20, 100, 5):
        events.append({"time": NOON + at, "event": "step", "step": at, "seconds": 1.5})
        events.append({"time": NOON + at + 3.4, "event": "checkpoint", "seconds": 3.4})
    found = analyse_folder(tmp_path, JobContext(events=tuple(events)))
    assert [finding.key for finding in found.findings] == ["checkpoints"]


def test_a_node_that_serves_is_no_idle_peer(tmp_path: Path) -> None:
    idle = in_training(lambda n, _i, _t: {"sm_pct": 0, "power_w": 60.0} if n == "n3" else {})
    killed = lambda n, t: {"oom_kills": 1 if n == "n3" and t > 300 else 0}  # noqa: E731
    peers = job(tmp_path / "peers", idle, nodes=3)
    assert peers.findings[0].key == "unused"
    served = job(tmp_path / "served", idle, nodes=3, roles={"n3": "server"})
    assert served.findings == ()
    assert [node.role for node in served.report.nodes] == ["", "", "server"]
    assert served.figures.gpu_hours == peers.figures.gpu_hours, "it is paid for all the same"
    apart = [run.figures.tokens_per_second_per_gpu or 0 for run in (served, peers)]
    assert apart[0] == pytest.approx(1.5 * apart[1])
    found = job(tmp_path / "killed", idle, killed, nodes=3, roles={"n3": "server"})
    assert found.verdict == "n3 ran out of memory."
