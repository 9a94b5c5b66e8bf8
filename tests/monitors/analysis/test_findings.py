"""Each finding on a job with the fault and on jobs without; and nothing on a healthy one."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitors.analysis.analysis import JobContext, analyse_folder
from tests.monitors import traces
from tests.monitors.judging import FIXES, in_training, job, only, part, spins
from tests.monitors.traces import LOAD_S, Values


@pytest.mark.parametrize(("nodes", "gpus"), [(2, 4), (1, 1), (1, 8), (16, 4)])
def test_nothing_stands_out_on_a_healthy_job(tmp_path: Path, nodes: int, gpus: int) -> None:
    found = job(tmp_path, nodes=nodes, gpus=gpus, seconds=200)
    assert (found.verdict, found.findings) == ("Nothing stands out.", ())


def test_nothing_stands_out_without_marks_either(tmp_path: Path) -> None:
    found = analyse_folder(traces.record(tmp_path, seconds=400))
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
    assert found.verdict == finding.headline == "The GPUs waited for data 30% of the training."
    assert finding.lost_share == pytest.approx(0.30, abs=0.02)
    assert finding.fix == "more workers"


def test_batches_fetched_while_the_gpus_work_cost_nothing(tmp_path: Path) -> None:
    assert job(tmp_path, waited=3.2).findings == ()


def test_idle_gpus_of_an_unknown_program_are_not_blamed_on_its_data(tmp_path: Path) -> None:
    hungry = in_training(lambda _n, _i, t: {"sm_pct": 2, "power_w": 80.0} if part(t, 0.3) else {})
    finding = only(found := job(tmp_path, hungry, waited=None))
    assert (finding.key, found.verdict) == ("idle", "The GPUs were idle 30% of the training.")


# Waiting for each other


def test_waiting_for_the_network(tmp_path: Path) -> None:
    finding = only(job(tmp_path, spins(0.4)))
    assert finding.key == "communication"
    assert finding.headline == "The GPUs waited for the network 40% of the training."
    assert "6,0" in finding.evidence
    assert "over InfiniBand" in finding.evidence


def test_within_a_node_the_network_is_not_named(tmp_path: Path) -> None:
    finding = only(job(tmp_path, spins(0.4), nodes=1))
    assert finding.key == "communication"
    assert "network" not in finding.headline


def test_one_gpu_alone_waits_for_nobody(tmp_path: Path) -> None:
    assert job(tmp_path, spins(0.4), nodes=1, gpus=1).findings == ()


# A slow peer


def test_the_gpu_that_the_others_wait_for_is_named(tmp_path: Path) -> None:
    finding = only(found := job(tmp_path, spins(0.3, spared=("n2", 3))))
    assert finding.key == "slow-peer"
    assert finding.where == ("n2 GPU 3",)
    assert found.verdict.startswith("n2 GPU 3 held the job back: the others waited for it 30%")
    assert finding.fix == "leave it out"


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
    assert finding.lost_share == pytest.approx(0.21, abs=0.02)


def test_clocks_that_differ_a_little_are_no_finding(tmp_path: Path) -> None:
    def spread(_n: str, i: int, _t: int) -> Values:
        return {"sm_clock_mhz": 1400 - 25 * i}

    assert job(tmp_path, in_training(spread)).findings == ()


def test_a_node_whose_cpus_are_held_back_is_named(tmp_path: Path) -> None:
    def squeezed(node: str, t: int) -> Values:
        return {"cgroup_throttled_s": 0.4 * t if node == "n2" else 0.0}

    finding = only(job(tmp_path, host=squeezed, gpus=0))
    assert finding.key == "slow-peer"
    assert finding.headline.startswith("n2 held the job back")


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
    assert word in finding.headline
    assert "up to 50%" in finding.headline
    assert finding.where == ("n1 GPU 1", "n2 GPU 1")


def test_a_power_limit_that_costs_clock_is_told(tmp_path: Path) -> None:
    def capped(_n: str, _i: int, t: int) -> Values:
        return {"throttle": 0x4, "sm_clock_mhz": 1000} if t >= 80 else {"throttle": 0}

    finding = only(job(tmp_path, in_training(capped)))
    assert finding.key == "power"
    assert "400 W" in finding.headline


def test_a_power_limit_reached_under_full_load_is_how_it_should_be(tmp_path: Path) -> None:
    assert job(tmp_path, in_training(lambda _n, _i, _t: {"throttle": 0x4})).findings == ()


# Unused and hardly used GPUs


def test_gpus_that_did_nothing_are_named(tmp_path: Path) -> None:
    unused = in_training(
        lambda _n, i, _t: {"sm_pct": 0, "power_w": 60.0, "memory_used_mib": 500.0} if i == 3 else {}
    )
    finding = only(job(tmp_path, unused))
    assert finding.key == "unused"
    assert finding.headline == "n1 GPU 3 and n2 GPU 3 did nothing: 2 of 8 GPUs."


def test_a_gpu_whose_memory_is_held_has_a_process_that_may_hang(tmp_path: Path) -> None:
    stuck = in_training(lambda _n, i, _t: {"sm_pct": 3, "power_w": 80.0} if i == 1 else {})
    finding = only(job(tmp_path, stuck, nodes=1, gpus=2))
    assert finding.headline == "n1 GPU 1 did next to nothing: 1 of 2 GPUs."
    assert "64.5 GiB of their memory was in use" in finding.evidence
    assert "may wait or hang" in finding.cause


def test_gpus_that_are_hardly_used_at_all(tmp_path: Path) -> None:
    finding = only(job(tmp_path, in_training(lambda _n, _i, _t: {"sm_pct": 8, "power_w": 90.0})))
    assert finding.key == "idle"
    assert "hardly used" in finding.headline


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
    assert finding.lost_share == pytest.approx(0.26, abs=0.04)
    assert "20.0 s each" in finding.evidence


def test_the_checkpoint_of_a_stop_is_not_too_often(tmp_path: Path) -> None:
    """A run that was asked to stop early writes one, however little it trained before."""
    seconds = 400
    traces.record(tmp_path, nodes=1, gpus=1, seconds=seconds)
    events = [
        event for event in traces.events(300) if event["event"] in {"start", "load", "data", "step"}
    ]
    last = max(event["time"] for event in events)
    events.append({"time": last + 90, "event": "checkpoint", "step": 9, "seconds": 89.0})
    events.append({"time": last + 91, "event": "stop", "step": 9, "why": "asked to"})
    found = analyse_folder(tmp_path, JobContext(events=tuple(events), fixes=FIXES))
    assert "checkpoints" not in {finding.key for finding in found.findings}
    events.append({"time": last + 93, "event": "step", "step": 10, "seconds": 2.0})
    found = analyse_folder(tmp_path, JobContext(events=tuple(events), fixes=FIXES))
    assert "checkpoints" in {finding.key for finding in found.findings}, "training went on after it"
