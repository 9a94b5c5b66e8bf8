"""A run folder that grows as a real one does: marks and samples of made-up nodes, appended."""

from __future__ import annotations

import os
import random
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.processes import started
from monitors.records import End, GpuSample, HostSample, OwnCost, Record, Start, Tick
from monitors.storage import filenames
from monitors.storage.formats import json_lines
from tests.monitors import traces
from tests.run.making import run_in


@dataclass
class Alive:
    """A run that this very process seems to carry."""

    root: Path
    nodes: int = 2
    gpus: int = 4
    seed: int = 1
    behind_s: float = 0.0
    """How far the nodes' clocks are behind this machine's."""
    folder: RunFolder = field(init=False)
    step: int = 0
    _ticks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = run_in(
            self.root,
            mode="local",
            pid=os.getpid(),
            pid_started=started(os.getpid()),
            host=socket.gethostname(),
            nodes=self.nodes,
            device="gpu" if self.gpus else "cpu",
        )
        self.folder.metrics.mkdir()
        self.folder.logs.mkdir()
        self.folder.nodes.write_text("".join(f"{name}\n" for name in self.names))
        self._dice = random.Random(self.seed)  # noqa: S311
        self._began = time.time()

    @property
    def names(self) -> list[str]:
        """The nodes."""
        return [f"n{number + 1}" for number in range(self.nodes)]

    def begin(self, *, seconds: int = 0, until: int = 0) -> None:
        """Start sampling: so many seconds, of which the last was `until` seconds ago."""
        self._began = time.time() - seconds - until
        for number, name in enumerate(self.names):
            infos = tuple(traces.gpu_info(number, index) for index in range(self.gpus))
            wall = self._began - self.behind_s
            self.append(name, Start(name, wall, 1000.0, "UTC", 0, 1.0, infos, None))
            self._ticks[name] = 0
        for _ in range(seconds):
            self.tick()

    def tick(self, *, silent: tuple[str, ...] = (), gpu: dict[str, Any] | None = None) -> None:
        """Append one more second of every node that is not silent."""
        for name in self.names:
            n = self._ticks[name] + 1
            self._ticks[name] = n
            if name in silent:
                continue
            at = traces.LOAD_S + n
            host = {**traces.healthy_host(at, self._dice), "net_rx_bytes": 120_000_000 * n}
            cards = tuple(
                GpuSample(index, **traces.healthy_gpu(index, at, self._dice) | (gpu or {}))
                for index in range(self.gpus)
            )
            wall = round(self._began + n - self.behind_s, 3)
            tick = Tick(n, wall, 1000.0 + n, HostSample(**host), cards if self.gpus else None)
            self.append(name, tick)

    def append(self, node: str, record: Record) -> None:
        """Append one record to a node's samples."""
        with filenames.path_of(self.folder.metrics, node, filenames.SAMPLES).open("a") as stream:
            stream.write(json_lines.line(record))

    def end_node(self, node: str) -> None:
        """End a node's recording in order."""
        self.append(node, End(time.time(), "SIGTERM", 1, 0, OwnCost(0.1, 20_000)))

    def train(self, steps: int = 1, total: int = 200) -> None:
        """Make steps, and a checkpoint at every tenth."""
        if self.step == 0:
            log_event(self.folder.events, "start", world=8, device="gpu")
            log_event(self.folder.events, "load", seconds=3.0, parameters=1000, trainable=10)
        for _ in range(steps):
            self.step += 1
            loss = round(0.9 + 1.5 / self.step**0.5, 4)
            log_event(
                self.folder.events, "step", step=self.step, total=total, seconds=1.5,
                tokens=12_288, loss=loss,
            )  # fmt: skip
            if self.step % 10 == 0:
                log_event(self.folder.events, "checkpoint", step=self.step, seconds=0.4)

    def finish(self, code: int = 0) -> None:
        """End the run."""
        if code == 0:
            log_event(self.folder.events, "end", step=self.step, seconds=3.0, outcome="done")
        self.folder.exit_code_file.write_text(f"{code}\n")
