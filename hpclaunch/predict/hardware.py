"""The hardware of a plan: from data sheets and the site's profile, or as measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from hpclaunch.frozen import frozen
from hpclaunch.predict.host_rates import HostRates, assumed_rates
from hpclaunch.predict.step_time import (
    LAUNCH_S,
    MATMUL_SHARE,
    MEMORY_SHARE,
    Hardware,
    StepTime,
    reached,
    step_time,
)
from hpclaunch.predict.training_step import TrainingStep
from hpclaunch.site.measured import HostLink, Rates
from hpclaunch.site.schema import GpuType, Site

NETWORKS_GB_S = {"infiniband": 25.0, "slingshot": 25.0, "ethernet": 1.25}
"""GB/s between nodes where a site names the network and not its rate: one port of 200 Gb/s, or
10 Gb/s Ethernet. Assumptions."""
SHARES = (
    f"{MATMUL_SHARE:.0%} of the GPU's bf16 peak in large matrix products, {MEMORY_SHARE:.0%} of "
    "its memory bandwidth between them"
)
"""What the compute time rests on, for the list of assumptions."""
COMPUTE_BOUND = 0.7
"""Share of a step that must be compute for its time to show how fast the GPUs compute."""
SPEED_FACTORS = 0.03, 3.0
"""Bounds of a believable speed factor."""
LAUNCH_BOUNDS_S = 1e-6, 200e-6
"""Bounds of a believable launch time, in seconds."""


@frozen
class SpeedFit:
    """What the measured time of a step shows; None: nothing."""

    speed_factor: float | None = None
    """Ratio of the GPUs' speed to the predicted one."""
    launch_s: float | None = None
    """Seconds that launching a kernel took."""


@frozen
class MeasuredHardware:
    """What was measured of a GPU type at a site; None: not yet."""

    intra_node: Rates | None = None
    inter_node: Rates | None = None
    host: HostLink | None = None
    """Between the GPUs and the memory of their node."""
    fit: SpeedFit = SpeedFit()
    """From a run of this kind."""
    run: str = ""
    """Which run that was."""
    memory: str = ""
    """One line on what the last run of this kind took."""


NOTHING_MEASURED = MeasuredHardware()


@frozen
class Basis:
    """What the figures rest on: one line each."""

    assumed: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


def hardware_of(
    site: Site,
    gpu: GpuType,
    nodes: int,
    per_node: int,
    network_gb_s: float | None,
    known: MeasuredHardware = NOTHING_MEASURED,
    node_memory_bytes: int | None = None,
) -> tuple[Hardware, Basis]:
    """Return the hardware, and what its figures rest on.

    `network_gb_s`: of a node by its data sheet, where the user gives it; it wins over measurements.
    """
    assumed, seen = [], []
    rate = None if network_gb_s is None else reached(network_gb_s)
    if nodes > 1 and rate is None:
        rate = _network(site, known)
        if known.inter_node is not None:
            seen.append(f"{rate:.3g} GB/s between nodes ({_measured(known.inter_node)})")
        elif site.network_gb_s is None and rate is not None:
            assumed.append(
                f"{NETWORKS_GB_S[site.network]:g} GB/s between nodes ({site.network}); measure it "
                "by hpclaunch preflight, or give it by --network"
            )
    link = reached(gpu.link_gb_s)
    if per_node > 1 and known.intra_node is not None:
        link = known.intra_node.gather_gb_s
        seen.append(f"{link:.3g} GB/s between GPUs of a node ({_measured(known.intra_node)})")
    fit = known.fit
    if fit.speed_factor is not None:
        seen.append(
            f"GPUs {fit.speed_factor:.2f} times as fast as the assumptions say ({known.run})"
        )
    launch_s = LAUNCH_S if fit.launch_s is None else fit.launch_s
    launching = f"{1e6 * launch_s:.0f} µs to launch a kernel"
    if fit.launch_s is not None:
        seen.append(f"{launching} ({known.run})")
    assumed.append(SHARES if fit.launch_s is not None else f"{SHARES}, {launching}")
    seen += [known.memory] if known.memory else []
    return (
        Hardware(
            nodes=nodes,
            gpus_per_node=per_node,
            tflops=gpu.bf16_tflops or 0.0,
            memory_gb_s=gpu.bandwidth_gb_s,
            link_gb_s=link,
            network_gb_s=rate,
            speed_factor=fit.speed_factor or 1.0,
            launch_s=launch_s,
            multiprocessors=gpu.multiprocessors,
            host=host_rates_of(gpu, known.host),
            node_memory_bytes=node_memory_bytes,
        ),
        Basis(tuple(assumed), tuple(seen)),
    )


def host_rates_of(gpu: GpuType, measured: HostLink | None) -> HostRates:
    """Return the rates between a GPU and its host, as measured by preflight, else assumed."""
    if measured is None:
        return assumed_rates(gpu.host_gb_s)
    return HostRates(link_gb_s=min(measured.to_gpu_gb_s, measured.from_gpu_gb_s))


def offload_basis(rates: HostRates, measured: HostLink | None) -> Basis:
    """Return what the time of an offloaded layout rests on."""
    if measured is None:
        return Basis(assumed=(f"{rates}; measure it by hpclaunch preflight",))
    day = datetime.fromtimestamp(measured.when, UTC).date()
    return Basis(
        assumed=(f"{rates.memory_gb_s:g} GB/s of a node's memory, for what is offloaded",),
        measured=(
            f"{rates.link_gb_s:.3g} GB/s between each of {measured.gpus} GPUs and their host "
            f"(measured by preflight on {day})",
        ),
    )


def _network(site: Site, known: MeasuredHardware) -> float | None:
    """Return what collectives reach between nodes."""
    if known.inter_node is not None:
        return known.inter_node.gather_gb_s
    rate = site.network_gb_s or NETWORKS_GB_S.get(site.network)
    return None if rate is None else reached(rate)


def _measured(rates: Rates) -> str:
    day = datetime.fromtimestamp(rates.when, UTC).date()
    return f"measured by preflight on {day}, {rates.ranks} ranks"


def fit_speed(training: TrainingStep, replicas: int, machine: Hardware, seconds: float) -> SpeedFit:
    """Return what a measured step of `seconds` shows of the GPUs' speed, or of kernel launches.

    Nothing where most of it was communication, or the figure is out of bounds.
    """
    prediction = step_time(training, replicas, machine)
    if prediction.waits_for_launches:
        launch_s = _solve(
            lambda trial: step_time(training, replicas, replace(machine, launch_s=trial)),
            LAUNCH_BOUNDS_S,
            seconds,
        )
        return SpeedFit(launch_s=launch_s)
    slowness = _solve(
        lambda trial: step_time(training, replicas, replace(machine, speed_factor=1 / trial)),
        (1 / SPEED_FACTORS[1], 1 / SPEED_FACTORS[0]),
        seconds,
    )
    return SpeedFit(speed_factor=None if slowness is None else round(1 / slowness, 3))


def _solve(
    slower: Callable[[float], StepTime], bounds: tuple[float, float], seconds: float
) -> float | None:
    """Return the figure at which a step takes `seconds`; larger figures make it slower.

    None where none within the bounds does, or where that step would be mostly communication.
    """
    low, high = bounds

    def takes(figure: float) -> float:
        taken = slower(figure).seconds
        return math.inf if taken is None else taken

    if takes(low) >= seconds or takes(high) <= seconds:
        return None
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if takes(middle) > seconds else (middle, high)
    return low if slower(low).compute >= COMPUTE_BOUND * seconds else None
