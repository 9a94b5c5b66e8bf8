"""What the screen shows at one time: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from hpclaunch.diagnose.activity import Activity
from hpclaunch.diagnose.progress import Progress
from hpclaunch.frozen import frozen
from hpclaunch.units import UNKNOWN
from hpclaunch.watch.state import StateAnswer
from monitors.storage.live import NodeNow


@frozen
class Frame:
    """A run at one time. None and '' are unknown, or not there."""

    at: float
    """Unix seconds on this machine."""
    name: str
    state: str
    """As `hpclaunch status` has it; `unknown` before the first answer."""
    reason: str = ""
    job_id: str | None = None
    hosts: str = ""
    """The job's nodes as Slurm lists them."""
    time_left: str = ""
    """Before the time limit, as Slurm writes it."""
    why: str = ""
    """The first line of `hpclaunch why` where something is wrong, or the run waits."""
    before: str = ""
    """How the last attempt ended, of a run that was restarted."""
    left_out: tuple[str, ...] = ()
    """Nodes that failed twice, and are excluded from this job."""
    progress: Progress = field(default_factory=Progress)
    activity: Activity | None = None
    """What the training does now, and whether it may hang; None unless the run runs."""
    started: float | None = None
    """When the ranks of this attempt began, in Unix seconds."""
    losses: tuple[float, ...] = ()
    """Of the last steps, oldest first."""
    checkpoint_age_s: float | None = None
    nodes: tuple[NodeNow, ...] = ()
    """Those of this attempt."""
    absent: tuple[str, ...] = ()
    """Nodes of the job that have left no sample yet."""
    server: str = ""
    """The node that writes the completions and trains nothing; '' where there is none."""
    earlier: tuple[str, ...] = ()
    """Nodes with samples of earlier attempts only."""
    trouble: tuple[str, ...] = ()
    """What is wrong with nodes, a line each."""
    on_gpus: bool = False
    """Whether the run trains on GPUs: a node without them is in trouble."""
    ended: bool = False
    """Nothing more will come."""

    @property
    def active(self) -> bool:
        """True while it waits or runs."""
        return self.state in {"queued", "running"}

    @property
    def phase(self) -> str:
        """What is done beside steps, and how far it is; '' while steps come."""
        return self.activity.phase if self.activity else ""

    @property
    def hang(self) -> str:
        """Why the ranks may hang; '' where they go on."""
        return self.activity.hang if self.activity else ""

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last step at this step time; None where no steps come."""
        if self.activity is not None and not self.activity.steps_come:
            return None
        return self.progress.seconds_left


def make(
    at: float,
    name: str,
    answer: StateAnswer | None,
    progress: Progress,
    events: Sequence[dict[str, Any]],
    nodes: Sequence[NodeNow],
    hosts: Sequence[str],
    activity: Activity | None = None,
    server: str = "",
) -> Frame:
    """Return the frame of what was read.

    `hosts`: the nodes of this attempt, as far as known; `server`: that of its server beside them.
    """
    hosts = (*hosts, server) if server and hosts else hosts
    found = answer.status if answer else None
    state = str(found.state) if found else UNKNOWN
    here = [node for node in nodes if not hosts or node.node in hosts]
    if state == "queued":  # whatever was sampled was before
        here = []
    names = {node.node for node in nodes if node.points}
    absent = [host for host in hosts if host not in names] if state == "running" else []
    checkpoint = _time(events, "checkpoint")
    return Frame(
        at=at,
        name=name,
        state=state,
        reason=found.reason if found else "not known yet",
        job_id=found.job_id if found else None,
        hosts=found.nodes if found else "",
        time_left=found.time_left if found else "",
        why=answer.why if answer else "",
        before=found.before if found else "",
        left_out=found.left_out if found else (),
        progress=progress,
        activity=activity,
        started=_time(events, "start"),
        losses=tuple(_losses(events)),
        checkpoint_age_s=None if checkpoint is None else max(0.0, at - checkpoint),
        nodes=tuple(here),
        absent=tuple(absent),
        server=server if server in hosts else "",
        earlier=tuple(node.node for node in nodes if node not in here),
        ended=answer is not None and answer.ended,
    )


def _time(events: Sequence[dict[str, Any]], kind: str) -> float | None:
    """Return when the newest event of a kind was written, in Unix seconds."""
    for event in reversed(events):
        if event["event"] == kind:
            return _number(event.get("time"))
    return None


def _losses(events: Sequence[dict[str, Any]]) -> list[float]:
    values = [_number(event.get("loss")) for event in events if event["event"] == "step"]
    return [value for value in values if value is not None]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        return None
    return float(value)
