"""The machines of a plan: from data sheets and the site's profile, or as they were measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hpclaunch.plan.memory import Load
from hpclaunch.plan.speed import (
    EFFICIENCY,
    HOST_LINK,
    HOST_MEMORY,
    LAUNCH,
    MOVING,
    Machine,
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
BETWEEN = (
    f"{MOVING:.0%} of its memory's rate between them, {1e6 * LAUNCH:.0f} µs to launch a kernel"
)
"""What the rest of a GPU's work rests on, in words."""
TELLING = 0.7
"""Share of a step that must be computing for its time to tell how fast the GPUs compute."""


@dataclass(frozen=True)
class Known:
    """What was measured of a kind of GPU at a site; None: not yet."""

    inside: Rates | None = None
    across: Rates | None = None
    efficiency: float | None = None
    """Share of the bf16 peak that large matrix products reached, by a run of this kind."""
    run: str = ""
    """Which run that was."""
    memory: str = ""
    """What the last run of this kind took, in words."""


@dataclass(frozen=True)
class Basis:
    """What the figures of a machine rest on, in words."""

    assumed: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


def machine_of(
    site: Site, card: Gpu, nodes: int, per_node: int, network: float | None, known: Known = Known()
) -> tuple[Machine, Basis]:
    """Give the machine, and what its figures rest on.

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
    efficiency = known.efficiency or EFFICIENCY
    of_peak = f"{efficiency:.0%} of the GPU's bf16 peak in the products of large matrices"
    if known.efficiency:
        seen.append(f"{of_peak} ({known.run})")
    else:
        assumed.append(f"{of_peak}, {BETWEEN}")
    seen += [known.memory] if known.memory else []
    return (
        Machine(
            nodes=nodes,
            per_node=per_node,
            tflops=card.bf16_tflops or 0.0,
            memory_gb_s=card.bandwidth_gb_s,
            link_gb_s=link,
            network_gb_s=rate,
            efficiency=efficiency,
        ),
        Basis(tuple(assumed), tuple(seen)),
    )


def _network(site: Site, known: Known) -> float | None:
    """Give what collectives reach between nodes."""
    if known.across is not None:
        return known.across.gather_gb_s
    rate = site.network_gb_s or NETWORKS.get(site.network)
    return None if rate is None else reached(rate)


def _measured(rates: Rates) -> str:
    day = datetime.fromtimestamp(rates.when, UTC).date()
    return f"measured by preflight on {day}, {rates.ranks} ranks"


def efficiency_of(load: Load, replicas: int, machine: Machine, seconds: float) -> float | None:
    """Give the share of the peak at which a step takes so many seconds.

    None where it tells little of the GPUs: most of it went to the network, or the figure is out of
    all bounds.
    """

    def predicted(efficiency: float) -> float | None:
        return step(load, replicas, replace(machine, efficiency=efficiency)).seconds

    best = predicted(1.0)
    if best is None or best > seconds:
        return None
    low, high = 0.01, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        took = predicted(middle)
        low, high = (middle, high) if took is not None and took > seconds else (low, middle)
    found = step(load, replicas, replace(machine, efficiency=high))
    if high <= 0.02 or found.compute < TELLING * seconds:
        return None
    return round(high, 3)
