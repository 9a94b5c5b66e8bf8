"""One training under one fault: started, hurt, watched until it goes on or ends; what it cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpclaunch.run.events import read_events
from tests.slurm import harm
from tests.slurm.user import User

SMALL = ["tiny", "training.logging_steps=1", "training.eval_strategy=no", "data.limit=24",
         "training.per_device_train_batch_size=2", "checkpoints.every_steps=5",
         "--cpu-processes", "1"]  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What a fault cost."""

    lost: int | None
    """Steps that were done again; None where none could be."""
    gone: float | None
    """Seconds until no process of the hurt start lived; None where it went on."""
    on: float | None
    """Seconds until the next step after the fault; None where the run ended."""


@dataclass
class Case:
    """A run that is to be hurt."""

    user: User
    name: str
    runs: Path | None = None
    job: str = ""
    hurt_at: float = 0.0
    living: set[int] = field(default_factory=set)
    gone_after: float | None = None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return (self.runs or self.user.folder / "runs") / self.name

    def start(self, *words: str, until_step: int = 7, steps: int = 40) -> None:
        """Submit it, and wait until it is well under way, with a checkpoint behind it."""
        nodes = [] if "--nodes" in words else ["--nodes", "2"]
        given = [
            "sbatch",
            *SMALL,
            *nodes,
            f"training.max_steps={steps}",
            *words,
            "--name",
            self.name,
        ]
        done = self.user.hpclaunch(*given, "--json")
        assert done.returncode == 0, done.stderr
        self.job = json.loads(done.stdout)["job_id"]
        self.wait_for(lambda: self.last_step() >= until_step, 120)

    def hurt(self, how: Callable[[], object]) -> None:
        """Do it, and keep in mind what lived then."""
        self.living = set(harm.at_work(self.folder))
        self.hurt_at = time.time()
        how()

    def wait_until_gone(self, seconds: float = 60) -> None:
        """Wait until nothing lives any more of what lived when it was hurt."""
        self.wait_for(lambda: not (self.living & set(harm.at_work(self.folder))), seconds)
        self.gone_after = time.time() - self.hurt_at

    def wait_for(self, what: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so; says where it stands where it never is."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.everything()
            time.sleep(0.1)

    def end(self, state: str = "COMPLETED", seconds: float = 300) -> Cost:
        """Wait for the job's end; gives what the fault cost."""
        try:
            found = self.user.cluster.wait(self.job, seconds)
        except TimeoutError:
            raise AssertionError(self.everything()) from None
        assert found.state == state, self.everything()
        assert harm.at_work(self.folder) == []
        return self.cost()

    def cost(self) -> Cost:
        """Read it off the marks."""
        steps = [mark for mark in self.marks() if mark["event"] == "step"]
        before = [
            mark["step"] for mark in steps if mark["time"] < self.hurt_at + (self.gone_after or 0)
        ]
        after = [mark for mark in steps if mark["time"] >= self.hurt_at + (self.gone_after or 0)]
        if not after:
            return Cost(None, self.gone_after, None)
        lost = max(before) - (after[0]["step"] - 1)
        return Cost(lost, self.gone_after, after[0]["time"] - self.hurt_at)

    def marks(self, event: str | None = None) -> list[dict[str, Any]]:
        """What the run has marked so far."""
        found = read_events(self.folder / "events.jsonl")
        return [mark for mark in found if event in {None, mark["event"]}]

    def last_step(self) -> int:
        """The newest step, 0 before the first."""
        return max((mark["step"] for mark in self.marks("step")), default=0)

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        return self.user.status(str(self.folder))

    def why(self) -> str:
        """What `why` says."""
        return self.user.hpclaunch("why", str(self.folder)).stdout

    def log(self) -> str:
        """The job's log as it stands."""
        return self.user.hpclaunch("logs", str(self.folder)).stdout

    def records_whole(self, torn: int = 0) -> None:
        """Every sidecar's files can be read to their last line, but for `torn` lines in each."""
        files = sorted((self.folder / "metrics").glob("*.jsonl"))
        assert files
        for file in files:
            lines = file.read_text().split("\n")[:-1]
            assert sum(not _is_json(line) for line in lines) <= torn, file

    def everything(self) -> str:
        """What is known, for somebody who wonders why a test failed."""
        told = [
            f"living: {harm.at_work(self.folder)}",
            self.user.hpclaunch("status", str(self.folder)).stdout,
        ]
        return "\n".join([*told, *self.log().splitlines()[-60:]])


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
