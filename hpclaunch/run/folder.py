"""The run folder: the one place that knows what lies where."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from hpclaunch.frozen import frozen
from hpclaunch.run.permissions import umask
from hpclaunch.run.regular_file import read_small_text


@frozen
class RunFolder:
    """Paths of one run. Making the value touches no disk."""

    root: Path

    @classmethod
    def at(cls, root: str) -> RunFolder:
        """Return the paths of the run in a folder."""
        return cls(Path(root))

    @property
    def record(self) -> Path:
        """Who, when, from which command, versions, site, resources, job ids."""
        return self.root / "run.json"

    @property
    def recipe(self) -> Path:
        """The recipe as resolved."""
        return self.root / "recipe.yaml"

    @property
    def accelerate(self) -> Path:
        """What `accelerate launch --config_file` reads."""
        return self.root / "accelerate.yaml"

    @property
    def script(self) -> Path:
        """The script that was, or can be, submitted."""
        return self.root / "job.sbatch"

    @property
    def launch_functions(self) -> Path:
        """What the script sources: signals, exit code, requeue, port. The same for every job."""
        return self.root / "launch.sh"

    @property
    def node_checks(self) -> Path:
        """What the script runs on every node in front of the launcher. The same for every job."""
        return self.root / "node.sh"

    @property
    def logs(self) -> Path:
        """The job's output, and each rank's error file."""
        return self.root / "logs"

    @property
    def nodes(self) -> Path:
        """The job's hosts, one a line, in the order of their machine ranks."""
        return self.logs / "nodes"

    @property
    def first_failed_node(self) -> Path:
        """`exit-code node-number host` of the node whose launcher failed first."""
        return self.logs / "first-failed-node"

    @property
    def first_failed_rank(self) -> Path:
        """Created by the rank that failed first, which alone prints its traceback."""
        return self.logs / "first-failed-rank"

    def log(self) -> Path | None:
        """Return the newest of the job's own logs, None before it has written any."""
        logs = [
            (at, path)
            for path in self.logs.glob("job-*.out")
            if (at := _modified(path)) is not None
        ]
        return max(logs)[1] if logs else None

    def node_names(self) -> tuple[str, ...]:
        """Return the job's hosts in the order of their machine ranks, as far as they are known."""
        try:
            return tuple(read_small_text(self.nodes, 1 << 22).split())
        except OSError:
            return ()

    def server_node_names(self) -> tuple[str, ...]:
        """Return the nodes that ran the server and train nothing now, that of this attempt last.

        As far as they are known; none where completions are written on the ranks.
        """
        try:
            names = read_small_text(self.server_nodes, 1 << 20).split()
        except OSError:
            return ()
        ranks = self.node_names()
        return tuple(dict.fromkeys(name for name in reversed(names) if name not in ranks))[::-1]

    @property
    def report(self) -> Path:
        """The page with plots that `hpclaunch report` writes."""
        return self.root / "report.html"

    @property
    def metrics(self) -> Path:
        """One set of files a node, from the sidecars."""
        return self.root / "metrics"

    @property
    def events(self) -> Path:
        """Events of rank 0: load, step, checkpoint, stop, end."""
        return self.root / "events.jsonl"

    @property
    def phase(self) -> Path:
        """What the first rank does beside its steps, and how far it is."""
        return self.root / "phase.json"

    @property
    def prepared(self) -> Path:
        """Which entry of the cache holds the tokenized rows; written by `prepare`."""
        return self.root / "prepared.json"

    @property
    def checkpoints(self) -> Path:
        """Training state, one folder `step-N` each: complete, or not there."""
        return self.root / "checkpoints"

    @property
    def checkpoint_digests(self) -> Path:
        """One JSON line for each checkpoint written: `step`, and the `sha256` of its manifest.

        A copy that comes back from elsewhere is held against it.
        """
        return self.root / "checkpoint_digests.jsonl"

    @property
    def upload(self) -> Path:
        """What the nodes' copiers tell each other (`checkpoints.sync_to`)."""
        return self.root / "upload"

    @property
    def final(self) -> Path:
        """What `from_pretrained` takes: the adapter or the model, with its tokenizer."""
        return self.root / "final"

    @property
    def rewards(self) -> Path:
        """Copies of the reward functions' files, with their checksums (objective grpo)."""
        return self.root / "rewards"

    @property
    def completions(self) -> Path:
        """Completions with their rewards, a JSON line each (`training.log_completions`)."""
        return self.root / "completions.jsonl"

    @property
    def server_log(self) -> Path:
        """Output of the server that writes the completions (`method.grpo.server`)."""
        return self.logs / "server.log"

    @property
    def server_nodes(self) -> Path:
        """The node of that server, one line for each attempt."""
        return self.logs / "server-nodes"

    @property
    def server_exit(self) -> Path:
        """How that server ended, where it ended before the training."""
        return self.logs / "server-exit"

    @property
    def evaluations(self) -> Path:
        """Scores of the run's weights, a JSON file for each `hpclaunch eval`."""
        return self.root / "evaluations"

    @property
    def stage(self) -> Path:
        """Which stage the run is, of what and with which settings; not there in a training."""
        return self.root / "stage.json"

    @property
    def results(self) -> Path:
        """What a stage found out or wrote, written last: a stage without it has not ended well."""
        return self.root / "results.json"

    @property
    def rates(self) -> Path:
        """What `hpclaunch preflight` measured between the ranks."""
        return self.root / "rates.json"

    @property
    def exit_code_file(self) -> Path:
        """The exit code the script ended with, written last."""
        return self.root / "exit_code"

    @property
    def job_file(self) -> Path:
        """Number of the Slurm job at work in this folder, or of the last one."""
        return self.root / "job_id"

    @property
    def lock_file(self) -> Path:
        """Locked by the command that writes into this folder, as long as it runs."""
        return self.root / ".lock"

    @property
    def lease_file(self) -> Path:
        """Who writes into this folder, where the file system has no locks."""
        return self.root / ".lease"

    @property
    def pending_checksums(self) -> Path:
        """SHA-256 of the files that a resume is about to write; there after one that was killed."""
        return self.root / ".pending.json"

    @property
    def attempt_file(self) -> Path:
        """`job.restarts` of the start at work in this folder, or of the last one."""
        return self.root / "start"

    @property
    def cancelled_file(self) -> Path:
        """Written when a person ended the run: who and where."""
        return self.root / "cancelled"

    @property
    def stop_request(self) -> Path:
        """A file whose presence asks rank 0 to save and stop at the end of the step."""
        return self.root / "stop"

    def rank_error(self, rank: int) -> Path:
        """Where the rank with this global number says why it failed."""
        return self.logs / f"rank-{rank}.error.json"

    def rank_errors(self) -> list[Path]:
        """Return the error files that are there."""
        return sorted(self.logs.glob("rank-*.error.json"))


def _modified(path: Path) -> float | None:
    """Return when a plain file was modified, in Unix seconds; None for anything else."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_mtime if stat.S_ISREG(status.st_mode) else None


def write_atomic(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file aside and rename it into place, so that a reader never sees half of it.

    `mode` is its permissions, of which the umask takes some away.
    """
    if path.is_char_device() and not path.is_symlink():  # /dev/null: renaming would replace it
        path.write_text(text, encoding="utf-8")
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(mode & ~umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
