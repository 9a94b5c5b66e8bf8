"""The machines of a plan: from data sheets and the site's profile, or as they were measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hpclaunch.predict.memory import TrainingStep
from hpclaunch.predict.step_time import (
    HOST_LINK,
    HOST_MEMORY,
    LAUNCH,
    MOVING,
    PRODUCTS,
    Hardware,
    Step,
    reached,
    step,
)
from hpclaunch.site.measured import Rates
from hpclaunch.site.schema import Gpu, Site

NETWORKS = {"infiniband": 25.0, "slingshot": 25.0, "ethernet": 1.25}
"""GB/s of a node's way out where a site names its kind and not its rate: one port of 200 Gb/s, or
10 Gb/s Ethernet. Assumptions."""
OFFLOADED = (
    f"{HOST_LINK:g} GB/s between a GPU and its host and {HOST_MEMORY:g} GB/s of a node's memory, "
    "for what is offloaded"
)
"""What the time of an offloaded layout rests on, in words."""
SHARES = (
    f"{PRODUCTS:.0%} of the GPU's bf16 peak in the products of large matrices, {MOVING:.0%} of its "
    "memory's rate between them"
)
"""What a GPU's work rests on, in words."""
TELLING = 0.7
"""Share of a step that must be computing for its time to tell how fast the GPUs compute."""
BOUNDS = 0.03, 3.0
"""Of a pace that is believed."""
LAUNCHES = 1e-6, 200e-6
"""Seconds of a launch that are believed."""


@dataclass(frozen=True)
class Pace:
    """What the time of a step tells; None: nothing."""

    pace: float | None = None
    """How many times as fast as predicted the GPUs worked."""
    launch: float | None = None
    """Seconds that launching a kernel took."""


@dataclass(frozen=True)
class Known:
    """What was measured of a kind of GPU at a site; None: not yet."""

    inside: Rates | None = None
    across: Rates | None = None
    pace: Pace = Pace()
    """Of a run of this kind."""
    run: str = ""
    """Which run that was."""
    memory: str = ""
    """What the last run of this kind took, in words."""


@dataclass(frozen=True)
class Basis:
    """What the figures of a machine rest on, in words."""

    assumed: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


def hardware_of(
    site: Site, card: Gpu, nodes: int, per_node: int, network: float | None, known: Known = Known()
) -> tuple[Hardware, Basis]:
    """Return the machine, and what its figures rest on.

    `network`: GB/s of a node by its data sheet, where told; it wins over what was measured.
    """
    assumed, seen = [], []
    rate = None if network is None else reached(network)
    if nodes > 1 and rate is None:
        rate = _network(site, known)
        if known.across is not None:
            seen.append(f"{rate:.3g} GB/s between nodes ({_measured(known.across)})")
        elif site.network_gb_s is None and rate is not None:
            assumed.append(
                f"{NETWORKS[site.network]:g} GB/s between nodes ({site.network}); measure it by "
                "hpclaunch preflight, or tell it by --network"
            )
    link = reached(card.link_gb_s)
    if per_node > 1 and known.inside is not None:
        link = known.inside.gather_gb_s
        seen.append(f"{link:.3g} GB/s between GPUs of a node ({_measured(known.inside)})")
    learnt = known.pace
    if learnt.pace is not None:
        seen.append(f"GPUs {learnt.pace:.2f} times as fast as the assumptions say ({known.run})")
    launch = LAUNCH if learnt.launch is None else learnt.launch
    launching = f"{1e6 * launch:.0f} µs to launch a kernel"
    if learnt.launch is not None:
        seen.append(f"{launching} ({known.run})")
    assumed.append(SHARES if learnt.launch is not None else f"{SHARES}, {launching}")
    seen += [known.memory] if known.memory else []
    return (
        Hardware(
            nodes=nodes,
            per_node=per_node,
            tflops=card.bf16_tflops or 0.0,
            memory_gb_s=card.bandwidth_gb_s,
            link_gb_s=link,
            network_gb_s=rate,
            pace=learnt.pace or 1.0,
            launch=launch,
        ),
        Basis(tuple(assumed), tuple(seen)),
    )


def _network(site: Site, known: Known) -> float | None:
    """Return what collectives reach between nodes."""
    if known.across is not None:
        return known.across.gather_gb_s
    rate = site.network_gb_s or NETWORKS.get(site.network)
    return None if rate is None else reached(rate)


def _measured(rates: Rates) -> str:
    day = datetime.fromtimestamp(rates.when, UTC).date()
    return f"measured by preflight on {day}, {rates.ranks} ranks"


def pace_of(load: TrainingStep, replicas: int, machine: Hardware, seconds: float) -> Pace:
    """Return what a step of so many seconds tells of the machine's GPUs, or of launches.

    Nothing where most of it went to the network, or the figure is out of all bounds.
    """
    prediction = step(load, replicas, machine)
    if prediction.waits_for_launches:
        launch = _solved(
            lambda trial: step(load, replicas, replace(machine, launch=trial)), LAUNCHES, seconds
        )
        return Pace(launch=launch)
    pace = _solved(
        lambda trial: step(load, replicas, replace(machine, pace=1 / trial)),
        (1 / BOUNDS[1], 1 / BOUNDS[0]),
        seconds,
    )
    return Pace(pace=None if pace is None else round(1 / pace, 3))


def _solved(
    slower: Callable[[float], Step], bounds: tuple[float, float], seconds: float
) -> float | None:
    """Find the figure, of those that make a step slower as they grow, at which it takes `seconds`.

    None where none of the bounds does, or where that step would mostly wait for the network.
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
    return low if slower(low).compute >= TELLING * seconds else None
