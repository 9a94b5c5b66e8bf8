"""Run folders as failed runs leave them, made from what was messages."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpclaunch.diagnose.cause import Diagnosis
from hpclaunch.diagnose.causes import diagnose
from hpclaunch.diagnose.progress import Progress
from hpclaunch.diagnose.run_evidence import RunEvidence, gather
from hpclaunch.run.folder import RunFolder
from tests.diagnose import messages
from tests.run.making import record

HOSTS = ("node1", "node2")


@dataclass(frozen=True)
class FailedRun:
    """A run of two nodes with two ranks each, and what it left."""

    log: str | None = ""
    """Further lines of the job's log; None: there is no log."""
    ranks: dict[int, str] = field(default_factory=dict)
    """What ranks wrote to their stderr; the log has it too, as torchrun's tee writes it."""
    exits: dict[int, int] = field(default_factory=dict)
    """Ranks that their launcher saw fail, with their exit codes."""
    first: int | None = None
    """Number of the node whose launcher failed first."""
    slurm: str = "FAILED"
    state: str = "failed"
    reason: str = ""
    code: int | None = 1
    program: bool = True
    record: dict[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    server: str = ""
    """What the server that writes completions left in its log, where it ended first."""

    def write(self, folder: RunFolder) -> None:
        """Write all of it."""
        folder.logs.mkdir(exist_ok=True)
        folder.nodes.write_text("".join(f"{host}\n" for host in HOSTS))
        lines = []
        for rank, words in self.ranks.items():
            node, local = divmod(rank, 2)
            place = folder.logs / f"ranks/node-{node}/none_x1/attempt_0/{local}"
            place.mkdir(parents=True)
            (place / "stderr.log").write_text(f"{words}\n")
            lines += [f"{node}: [gpu{local}]:{line}" for line in words.splitlines()]
        for rank, code in self.exits.items():
            node, local = divmod(rank, 2)
            names = {"host": HOSTS[node], "rank": rank, "local": local, "code": code, "node": node}
            lines += messages.LAUNCHER.format(**names).splitlines()
        if self.log is not None:
            (folder.logs / "job-8.out").write_text("\n".join([*lines, self.log, ""]))
        if self.server:
            folder.server_log.write_text(self.server)
            folder.server_exit.write_text("code 1\n")
        if self.first is not None:
            folder.first_failed_node.write_text(f"1 {self.first} {HOSTS[self.first]}\n")

    def ask(self, root: Path) -> Diagnosis:
        """Write it, and ask why."""
        folder = RunFolder(root)
        self.write(folder)
        return ask(folder, self)


def gathered(folder: RunFolder, failed_run: FailedRun) -> RunEvidence:
    """Read what a run left, with what Slurm would say."""
    program = ["train.py"] if failed_run.program else []
    usual = {"processes_per_node": 2, "program": program, "job_id": "8"}
    kept = record(**usual | failed_run.record)
    return gather(
        folder, kept, failed_run.state, failed_run.slurm, failed_run.reason, failed_run.code,
        failed_run.progress,
    )  # fmt: skip


def ask(folder: RunFolder, failed_run: FailedRun) -> Diagnosis:
    """Ask why."""
    return diagnose(gathered(folder, failed_run))


def traceback(error: str, frame: str = "step(batch)") -> str:
    """Return a traceback that ends in an error."""
    head = 'Traceback (most recent call last):\n  File "/home/ada/train.py", line 11, in <module>'
    return f"{head}\n    {frame}\n{error}"


def error_file(folder: RunFolder, rank: int, **changes: Any) -> None:
    """Write a rank's error file as the built-in trainer does."""
    document = {
        "rank": rank, "local_rank": rank % 2, "host": HOSTS[rank // 2], "time": 100.0 + rank,
        "error": "ValueError: fell", "fix": "", "collateral": False, "traceback": "",
    } | changes  # fmt: skip
    folder.logs.mkdir(exist_ok=True)
    folder.rank_error(rank).write_text(json.dumps(document))
