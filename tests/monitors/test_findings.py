"""Each finding on a job with the fault and on jobs without; and nothing on a healthy one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitors import layout
from monitors.finding import Finding
from monitors.formats import samples
from monitors.model import Note
from monitors.report import Story, Study, study
from tests.monitors import traces
from tests.monitors.recorded import NOON
from tests.monitors.traces import LOAD_S, STEP_S, Values

SECONDS = 400
CHANGES = {"data": "more workers", "slow-peer": "leave it out"}


def job(
    folder: Path,
    gpu: traces.GpuFault = lambda _node, _index, _t: {},
    host: traces.HostFault = lambda _node, _t: {},
    *,
    nodes: int = 2,
    gpus: int = 4,
    seconds: int = SECONDS,
    transport: str | None = None,
    **marks: Any,
) -> Study:
    traces.record(folder, nodes=nodes, gpus=gpus, seconds=seconds, gpu=gpu, host=host)
    story = Story(marks=tuple(traces.marks(seconds, **marks)), changes=CHANGES, transport=transport)
    return study(folder, story)


def only(found: Study) -> Finding:
    assert len(found.findings) == 1, [finding.says for finding in found.findings]
    (finding,) = found.findings
    assert finding.evidence.strip(" .")
    assert finding.cause.endswith(".")
    assert finding.change
    return finding


def in_training(fault: Callable[[str, int, int], Values]) -> traces.GpuFault:
    return lambda node, index, t: fault(node, index, t) if t >= LOAD_S else {}


def part(t: int, share: float) -> bool:
    """Whether second t lies in the first part of its step."""
    return (t - LOAD_S) % STEP_S < share * STEP_S


@pytest.mark.parametrize(("nodes", "gpus"), [(2, 4), (1, 1), (1, 8), (16, 4)])
def test_nothing_stands_out_on_a_healthy_job(tmp_path: Path, nodes: int, gpus: int) -> None:
    found = job(tmp_path, nodes=nodes, gpus=gpus, seconds=200)
    assert (found.verdict, found.findings) == ("Nothing stands out.", ())


def test_nothing_stands_out_without_marks_either(tmp_path: Path) -> None:
    found = study(traces.record(tmp_path, seconds=SECONDS))
    assert (found.verdict, found.findings) == ("Nothing stands out.", ())


def test_loading_before_the_training_is_not_held_against_it(tmp_path: Path) -> None:
    """Forty seconds of 110 the GPUs are idle, before the first step."""
    assert job(tmp_path, seconds=110).findings == ()


def test_fewer_than_ten_samples_are_no_verdict(tmp_path: Path) -> None:
    idle = in_training(lambda _n, _i, _t: {"sm_pct": 0})
    found = job(tmp_path, idle, seconds=9)
    assert (found.verdict, found.findings) == ("Too few samples for a verdict.", ())


# Waiting for data


def test_waiting_for_data(tmp_path: Path) -> None:
    hungry = in_training(lambda _n, _i, t: {"sm_pct": 2, "power_w": 80.0} if part(t, 0.3) else {})
    finding = only(found := job(tmp_path, hungry, waited=3.2))
    assert finding.key == "data"
    assert found.verdict == finding.says == "The GPUs waited for data 30% of the training."
    assert finding.lost == pytest.approx(0.30, abs=0.02)
    assert finding.change == "more workers"


def test_batches_fetched_while_the_gpus_work_cost_nothing(tmp_path: Path) -> None:
    assert job(tmp_path, waited=3.2).findings == ()


def test_idle_gpus_of_an_unknown_program_are_not_blamed_on_its_data(tmp_path: Path) -> None:
    hungry = in_training(lambda _n, _i, t: {"sm_pct": 2, "power_w": 80.0} if part(t, 0.3) else {})
    finding = only(found := job(tmp_path, hungry, waited=None))
    assert (finding.key, found.verdict) == ("idle", "The GPUs were idle 30% of the training.")


# Waiting for each other


def spins(share: float, spared: tuple[str, int] = ("", 0)) -> traces.GpuFault:
    return in_training(
        lambda n, i, t: {"power_w": 130.0} if part(t, share) and (n, i) != spared else {}
    )


def test_waiting_for_the_network(tmp_path: Path) -> None:
    finding = only(job(tmp_path, spins(0.4)))
    assert finding.key == "communication"
    assert finding.says == "The GPUs waited for the network 40% of the training."
    assert "6,0" in finding.evidence
    assert "over InfiniBand" in finding.evidence


def test_within_a_node_the_network_is_not_named(tmp_path: Path) -> None:
    finding = only(job(tmp_path, spins(0.4), nodes=1))
    assert finding.key == "communication"
    assert "network" not in finding.says


def test_one_gpu_alone_waits_for_nobody(tmp_path: Path) -> None:
    assert job(tmp_path, spins(0.4), nodes=1, gpus=1).findings == ()


# A slow peer


def test_the_gpu_that_the_others_wait_for_is_named(tmp_path: Path) -> None:
    finding = only(found := job(tmp_path, spins(0.3, spared=("n2", 3))))
    assert finding.key == "slow-peer"
    assert finding.where == ("n2 GPU 3",)
    assert found.verdict.startswith("n2 GPU 3 held the job back: the others waited for it 30%")
    assert finding.change == "leave it out"


def test_why_the_slow_gpu_is_slow(tmp_path: Path) -> None:
    others = spins(0.3, spared=("n2", 3))

    def capped(node: str, index: int, t: int) -> Values:
        if (node, index) != ("n2", 3):
            return others(node, index, t)
        return {"throttle": 0x4, "sm_clock_mhz": 1000} if t >= LOAD_S else {}

    finding = only(job(tmp_path, capped))
    assert finding.key == "slow-peer"
    assert finding.cause == "Its power limit lowered its clocks."
    assert "1000 MHz against 14" in finding.evidence


def test_a_lower_clock_names_the_gpu_too(tmp_path: Path) -> None:
    finding = only(
        job(
            tmp_path,
            in_training(lambda n, i, _t: {"sm_clock_mhz": 1100} if (n, i) == ("n1", 2) else {}),
        )
    )
    assert (finding.key, finding.where) == ("slow-peer", ("n1 GPU 2",))
    assert finding.lost == pytest.approx(0.21, abs=0.02)


def test_clocks_that_differ_a_little_are_no_finding(tmp_path: Path) -> None:
    def spread(_n: str, i: int, _t: int) -> Values:
        return {"sm_clock_mhz": 1400 - 25 * i}

    assert job(tmp_path, in_training(spread)).findings == ()


def test_a_node_whose_cpus_are_held_back_is_named(tmp_path: Path) -> None:
    def squeezed(node: str, t: int) -> Values:
        return {"cgroup_throttled_s": 0.4 * t if node == "n2" else 0.0}

    finding = only(job(tmp_path, host=squeezed, gpus=0))
    assert finding.key == "slow-peer"
    assert finding.says.startswith("n2 held the job back")


# Heat and power


@pytest.mark.parametrize(
    ("bit", "word"), [(0x20, "heat"), (0x40, "heat"), (0x80, "a hardware signal")]
)
def test_lowered_clocks_say_why(tmp_path: Path, bit: int, word: str) -> None:
    hot = in_training(
        lambda n, i, t: {"throttle": bit} if i == 1 and part(t, 0.5) else {"throttle": 0}
    )
    finding = only(job(tmp_path, hot))
    assert finding.key == "thermal"
    assert word in finding.says
    assert "up to 50%" in finding.says
    assert finding.where == ("n1 GPU 1", "n2 GPU 1")


def test_a_power_limit_that_costs_clock_is_told(tmp_path: Path) -> None:
    def capped(_n: str, _i: int, t: int) -> Values:
        return {"throttle": 0x4, "sm_clock_mhz": 1000} if t >= 80 else {"throttle": 0}

    finding = only(job(tmp_path, in_training(capped)))
    assert finding.key == "power"
    assert "400 W" in finding.says


def test_a_power_limit_reached_under_full_load_is_how_it_should_be(tmp_path: Path) -> None:
    assert job(tmp_path, in_training(lambda _n, _i, _t: {"throttle": 0x4})).findings == ()


# Unused and hardly used GPUs


def test_gpus_that_did_nothing_are_named(tmp_path: Path) -> None:
    unused = in_training(
        lambda _n, i, _t: {"sm_pct": 0, "power_w": 60.0, "memory_used_mib": 500.0} if i == 3 else {}
    )
    finding = only(job(tmp_path, unused))
    assert finding.key == "unused"
    assert finding.says == "n1 GPU 3 and n2 GPU 3 did nothing: 2 of 8 GPUs."


def test_gpus_that_are_hardly_used_at_all(tmp_path: Path) -> None:
    finding = only(job(tmp_path, in_training(lambda _n, _i, _t: {"sm_pct": 8, "power_w": 90.0})))
    assert finding.key == "idle"
    assert "hardly used" in finding.says


# Memory of the cards


def test_a_full_card_is_a_danger(tmp_path: Path) -> None:
    def full(node: str, i: int, t: int) -> Values:
        return {"memory_used_mib": 81_000.0} if (node, i, t) == ("n1", 0, 222) else {}

    finding = only(job(tmp_path, full))
    assert finding.key == "gpu-memory"
    assert "79.1 GiB of 80.0 GiB" in finding.evidence


def test_room_on_the_cards_is_told_but_is_no_verdict(tmp_path: Path) -> None:
    roomy = in_training(lambda _n, _i, _t: {"memory_used_mib": 20_480.0})
    finding = only(found := job(tmp_path, roomy))
    assert (finding.key, found.verdict) == ("gpu-room", "Nothing stands out.")
    assert "57.6 GiB to spare" in finding.evidence


# Checkpoints


def test_checkpoints_that_take_their_share(tmp_path: Path) -> None:
    finding = only(job(tmp_path, every=5, checkpoint_s=20.0))
    assert finding.key == "checkpoints"
    assert finding.lost == pytest.approx(0.26, abs=0.04)
    assert "20.0 s each" in finding.evidence


# Hosts


def test_memory_pressure_is_told_before_the_kill(tmp_path: Path) -> None:
    near = lambda n, t: {"cgroup_mem_mib": 250_000.0} if (n, t) == ("n2", 300) else {}  # noqa: E731
    finding = only(job(tmp_path, host=near))
    assert finding.key == "host-memory"
    assert finding.says == "n2 came close to running out of memory."


def test_a_kill_for_memory_comes_first(tmp_path: Path) -> None:
    def killed(node: str, t: int) -> Values:
        return {"oom_kills": 1 if node == "n1" and t > 300 else 0}

    found = job(tmp_path, spins(0.4), killed)
    assert found.findings[0].says == found.verdict == "n1 ran out of memory."
    assert found.findings[1].key == "communication"


def test_swapping(tmp_path: Path) -> None:
    def swaps(node: str, t: int) -> Values:
        return {"swap_mib_s": 40.0, "psi_memory_pct": 30.0} if node == "n2" else {}

    finding = only(job(tmp_path, host=swaps))
    assert finding.says == "n2 swapped memory to disk during the training."
    assert "40.0 MiB/s" in finding.evidence


def test_swap_filled_long_ago_is_no_finding(tmp_path: Path) -> None:
    stale = lambda _n, _t: {"swap_used_mib": 8000.0, "swap_mib_s": 0.0}  # noqa: E731
    assert job(tmp_path, host=stale).findings == ()


def test_too_few_cores(tmp_path: Path) -> None:
    squeezed = lambda _n, t: {"cgroup_throttled_s": 0.5 * t}  # noqa: E731
    hungry = in_training(lambda _n, _i, t: {"sm_pct": 2, "power_w": 80.0} if part(t, 0.3) else {})
    found = job(tmp_path, hungry, squeezed)
    assert found.verdict == "The job had too few CPU cores on n1 and n2."
    assert found.findings[0].lost == pytest.approx(0.3, abs=0.02), "no more than the GPUs idled"


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
        ("GPU 2 is no longer sampled: GPU is lost", "lost-gpu"),
    ],
)
def test_device_errors_are_the_verdict(tmp_path: Path, text: str, key: str) -> None:
    traces.record(tmp_path, seconds=60)
    path = layout.path_of(tmp_path, "n2", layout.SAMPLES)
    path.write_text(path.read_text() + samples.line(Note(NOON + 30, text)))
    found = study(tmp_path)
    assert found.findings[0].key == key
    assert found.verdict.startswith("n2 GPU 2 ")


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
    ordinary = [finding.lost or 0.0 for finding in found.findings if not finding.grave]
    assert ordinary == sorted(ordinary, reverse=True)
