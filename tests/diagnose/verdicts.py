"""`why` against failure logs made after public reports: how often it is right, unknown, wrong.

    python -m tests.diagnose.verdicts

Prints a table. Ends with 1 where a verdict is wrong, or more than one in twenty is unknown.

A file of `failure_logs/` holds many cases: `=== what happened`, what must be said, `---`, the log.
In a log `1.0|` is stderr of local rank 0 on node 1 and `1.0>` its stdout, `*` is every rank, `1|`
the launcher on node 1; the rest is the script's. `@tb FILE:LINE CODE; ...` is a traceback up to its
error, `@tbr` one that PyTorch puts the rank in front of; `@new`, `@mid`, `@old RANK:CODE ...` are
torchrun's words on its ranks' ends, in three generations, the first to fail first; `@srun NODE` is
srun's end. `@error {...}` is a rank's error file. The run has two nodes of two ranks unless
`hosts:` and `gpus:` say otherwise; `first:` is the node whose launcher failed first, `step:` the
step that was reached, `trainer:` says that it is no user's program.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hpclaunch.diagnose.cause import Diagnosis
from hpclaunch.diagnose.progress import Progress
from hpclaunch.run.folder import RunFolder
from tests.diagnose import launchers
from tests.diagnose.failed_runs import HOSTS, FailedRun, ask

PLACE = Path(__file__).with_name("failure_logs")
PER_NODE = 2
UNNAMED = {"unknown", "exception", "killed", "script"}
"""What `why` says where it knows no cause: it quotes the error, or says that there is none."""
MOST_UNKNOWN = 0.05


@dataclass(frozen=True)
class Case:
    """One failure: its log, and what is right to say of it."""

    family: str
    name: str
    log: str
    right: tuple[str, ...]
    """Kinds of causes."""
    rank: int | None = None
    says: tuple[str, ...] = ()
    """All are in the headline."""
    advises: tuple[str, ...] = ()
    """One is in the advice."""
    never: tuple[str, ...] = ()
    """None is in the headline or the advice."""
    shows: tuple[str, ...] = ()
    """All are in the lines of evidence."""
    run: FailedRun = field(default_factory=FailedRun)
    own_logs: bool = True
    """Each rank has its own log beside the job's."""
    hosts: tuple[str, ...] = HOSTS
    per_node: int = PER_NODE
    first: int | None = None
    """Number of the node whose launcher failed first."""

    def ask(self, root: Path) -> Diagnosis:
        """Write the run folder, and ask why."""
        return ask(self.write(root), self.run)

    def write(self, root: Path) -> RunFolder:
        """Write the run folder that the failure leaves."""
        folder = RunFolder(root)
        job: list[str] = []
        own: dict[int, list[str]] = {}
        folder.logs.mkdir(parents=True)
        for node, local, stderr, text in lines_of(self.log, self.hosts, self.per_node):
            if text.startswith("@error "):
                document = json.loads(text.removeprefix("@error "))
                folder.rank_error(document["rank"]).write_text(json.dumps(document))
                continue
            label = "" if node is None else f"{node}: "
            label += "" if local is None else f"[gpu{local}]:"
            job.append(label + text)
            if node is not None and local is not None and stderr and self.own_logs:
                own.setdefault(node * self.per_node + local, []).append(text)
        folder.nodes.write_text("".join(f"{host}\n" for host in self.hosts))
        if self.first is not None:
            folder.first_failed_node.write_text(f"1 {self.first} {self.hosts[self.first]}\n")
        (folder.logs / "job-8.out").write_text("\n".join([*job, ""]))
        for rank, texts in own.items():
            node, local = divmod(rank, self.per_node)
            place = folder.logs / f"ranks/node-{node}/none_x1/attempt_0/{local}"
            place.mkdir(parents=True)
            (place / "stderr.log").write_text("\n".join([*texts, ""]))
        return folder

    def verdict(self, found: Diagnosis) -> str:
        """Return `right`, `unknown` or `wrong`."""
        cause = found.cause
        headline, advice = cause.headline.lower(), " | ".join(cause.advice).lower()
        place = self.rank is None or cause.rank == self.rank
        barred = any(text.lower() in f"{headline} {advice}" for text in self.never)
        if cause.kind not in self.right:
            return "unknown" if cause.kind in UNNAMED and place and not barred else "wrong"
        said = all(text.lower() in headline for text in self.says)
        shown = "\n".join(clue.text for clue in cause.evidence)
        said = said and all(text in shown for text in self.shows)
        advised = not self.advises or any(text.lower() in advice for text in self.advises)
        return "right" if place and said and advised and not barred else "wrong"


def lines_of(
    log: str, hosts: tuple[str, ...] = HOSTS, per_node: int = PER_NODE
) -> Iterator[tuple[int | None, int | None, bool, str]]:
    """Return node, local rank, whether it is stderr, and text of each line."""
    at = 0
    for line in log.split("\n"):
        head, sep, text = line.partition("|")
        stderr = bool(sep) and len(head) <= 3
        if not stderr:
            head, sep, text = line.partition(">")
        if line.startswith("@error "):
            yield None, None, True, line
        elif line.startswith("@"):
            at += 1
            for node, words in launchers.lines(line, at, hosts, per_node):
                yield node, None, True, words
        elif head == "*":
            for rank in range(len(hosts) * per_node):
                for words in launchers.traceback(text, rank):
                    yield *divmod(rank, per_node), stderr, words
        elif len(head) == 3 and head[1] == ".":
            node, local = int(head[0]), int(head[2])
            for words in launchers.traceback(text, node * per_node + local):
                yield node, local, stderr, words
        elif sep and len(head) == 1 and head.isdigit():
            yield int(head), None, True, text
        else:
            yield None, None, True, line


def cases(place: Path = PLACE) -> list[Case]:
    """Return the cases of a folder's files."""
    return [case for file in sorted(place.glob("*.txt")) for case in _cases(file)]


def all_cases() -> list[Case]:
    """Return the cases that the rules were made after, and those held out from that."""
    return [*cases(), *cases(PLACE / "held_out")]


def _cases(file: Path) -> Iterator[Case]:
    for part in re.split("(?m)^=== ", file.read_text(encoding="utf-8"))[1:]:
        head, _, log = part.partition("\n---\n")
        name, *rest = head.splitlines()
        told = {key: value for key, _, value in (line.partition(": ") for line in rest)}
        hosts, per_node = (
            tuple(told.get("hosts", " ".join(HOSTS)).split()),
            int(told.get("gpus", 2)),
        )
        run = FailedRun(
            slurm=told.get("slurm", "FAILED"),
            state=told.get("state", "failed"),
            code=int(told.get("exit", "1")),
            program="trainer" not in told,
            progress=Progress(step=int(told["step"])) if "step" in told else Progress(),
            record={
                "nodes": len(hosts),
                "processes_per_node": per_node,
                "stage": told.get("stage", ""),
            },
        )
        yield Case(
            file.stem,
            name,
            log.rstrip("\n"),
            _split(told["right"], "|"),
            int(told["rank"]) if "rank" in told else None,
            _split(told.get("says", ""), "&"),
            _split(told.get("advises", ""), "|"),
            _split(told.get("never", ""), "&"),
            _split(told.get("shows", ""), "&"),
            run,
            hosts=hosts,
            per_node=per_node,
            first=int(told["first"]) if "first" in told else None,
        )


def _split(text: str, by: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(by) if part.strip())


def judge(chosen: list[Case]) -> list[tuple[Case, str, Diagnosis]]:
    """Ask why of each case; return its verdict, too."""
    found = []
    with tempfile.TemporaryDirectory() as root:
        for number, case in enumerate(chosen):
            diagnosis = case.ask(Path(root) / str(number))
            found.append((case, case.verdict(diagnosis), diagnosis))
    return found


def table(judged: list[tuple[Case, str, Diagnosis]]) -> str:
    """Return the table, a line for each family."""
    counts = Counter((case.family, verdict) for case, verdict, _ in judged)
    families = sorted({case.family for case, _, _ in judged})
    lines = ["| failures | cases | right | unknown | wrong |", "|---|---|---|---|---|"]
    columns = ("right", "unknown", "wrong")
    for name in families:
        row = [counts[name, column] for column in columns]
        lines.append(f"| {name} | {sum(row)} | {row[0]} | {row[1]} | {row[2]} |")
    row = [sum(counts[name, column] for name in families) for column in columns]
    lines.append(f"| all | {sum(row)} | {row[0]} | {row[1]} | {row[2]} |")
    return "\n".join(lines)


def main() -> int:
    """Print the table and every case that is not right; returns the exit code."""
    from tests.diagnose.variants import after_noise, without_own_logs

    plain = judge(all_cases())
    print(table(plain))
    judged = [*plain, *judge(after_noise(all_cases())), *judge(without_own_logs(all_cases()))]
    print("Then each case again after harmless lines, and with the job's log alone:")
    for case, verdict, found in judged:
        if verdict != "right":
            print(f"{verdict}: {case.family}: {case.name}: [{found.cause.kind}] {found.cause.line}")
    verdicts = Counter(verdict for _, verdict, _ in judged)
    few = verdicts["unknown"] <= MOST_UNKNOWN * len(judged)
    return 0 if few and not verdicts["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
