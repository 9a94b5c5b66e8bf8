"""A real Slurm cluster of pretended nodes on one machine, for tests and for trying things out.

By hand: `python -m tests.slurm.cluster --nodes 4`, then paste the printed lines into other shells.
"""

import argparse
import atexit
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from hpclaunch.slurm.jobs import ENDED
from tests.slurm.files import write_folder
from tests.slurm.processes import clients, close
from tests.slurm.settings import CONTROLLER_LAST_BYTE, Place, Settings
from tests.slurm.slot import Slot, claim

START_SECONDS = 90.0
UPLINK = "throwaway{slot}"
"""This machine's own link to the bridge of a cluster with links."""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "unshare": "util-linux",
    "hostname": "hostname",
    "ip": "iproute2",
    "nsenter": "util-linux",
}


class JobState(NamedTuple):
    """A job's state with its exit code and the signal that ended it (0: none)."""

    state: str
    exit_code: int
    signal: int


class ThrowawayCluster:
    """Starts on entering, stops on leaving; nothing of it outlives the process that started it."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._slot: Slot | None = None
        self._namespace: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """Why a cluster cannot run here, or None."""
        for program, package in PROGRAMS.items():
            if shutil.which(program) is None:
                return f"{program} not found: apt-get install {package}"
        if os.geteuid() != 0:
            return "not root: the cluster needs its own namespaces"
        trial = subprocess.run(
            [*NAMESPACES, "--uts", "true"], capture_output=True, text=True, check=False
        )
        if trial.returncode != 0:
            return f"no right to make namespaces: {trial.stderr.strip()}"
        return None

    @property
    def place(self) -> Place:
        """Folder and addresses of the running cluster."""
        if self._slot is None:
            raise RuntimeError("the cluster is not running")
        return self._slot.place

    @property
    def starter(self) -> int:
        """Process id of what made the cluster's namespaces; its child is the first inside."""
        if self._namespace is None:
            raise RuntimeError("the cluster is not running")
        return self._namespace.pid

    @property
    def exports(self) -> dict[str, str]:
        """The variables that point Slurm's commands to this cluster."""
        return {"SLURM_CONF": str(self.place.slurm_conf)}

    @property
    def env(self) -> dict[str, str]:
        """A complete environment for Slurm's commands, free of another job's variables."""
        foreign = ("SLURM_", "SBATCH_", "SALLOC_", "SRUN_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        return kept | self.exports

    def start(self) -> None:
        """Start all daemons and return once every node is idle."""
        if self._slot is not None:
            raise RuntimeError("the cluster is already running")
        self._slot = claim(self.settings.links)
        atexit.register(self.stop)
        try:
            write_folder(self.settings, self.place)
            self._namespace = subprocess.Popen(
                [
                    *NAMESPACES,
                    *(["--net"] if self.settings.links else []),
                    sys.executable,
                    str(Path(__file__).with_name("supervisor.py")),
                    str(self.place.folder),
                ],
                stdin=subprocess.PIPE,
                stdout=(self.place.logs / "supervisor.out").open("wb"),
                stderr=subprocess.STDOUT,
                pass_fds=(self._slot.lock,),
                start_new_session=True,
            )
            if self.settings.links:
                self._plug_in()
            self.wait_until_idle()
        except BaseException:
            self.stop()
            raise

    def _plug_in(self) -> None:
        """Join this machine to the cluster's bridge; it goes with the cluster's namespace."""
        name = UPLINK.format(slot=self.place.slot)
        deadline = time.monotonic() + START_SECONDS
        while self.inside("ip", "link", "show", "cluster").returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster has no bridge\n{self.log_tails()}")
            time.sleep(0.02)
        assert self._namespace is not None
        # That of an earlier cluster in this slot may take a moment to follow its namespace.
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
        peer = ["peer", "name", "uplink", "netns", str(self._namespace.pid)]
        subprocess.run(["ip", "link", "add", name, "type", "veth", *peer], check=True)
        self.inside("ip", "link", "set", "uplink", "master", "cluster", "up")
        address = f"{self.place.address(CONTROLLER_LAST_BYTE - 1)}/24"
        subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)

    def inside(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the network that the bridge is in; of a cluster with links."""
        assert self._namespace is not None
        where = f"--net=/proc/{self._namespace.pid}/ns/net"
        if Path(where[6:]).readlink() == Path("/proc/self/ns/net").readlink():
            return subprocess.CompletedProcess(argv, 1, "", "it has no network of its own yet")
        return subprocess.run(
            ["nsenter", where, "--", *argv], capture_output=True, text=True, check=False
        )

    def start_slurmd(self, node: str) -> None:
        """Start the slurmd of a node again."""
        assert self._namespace is not None
        assert self._namespace.stdin is not None
        self._namespace.stdin.write(f"{node}\n".encode())
        self._namespace.stdin.flush()

    def stop(self) -> None:
        """Kill every daemon, job process and client of this cluster, and remove its folder."""
        atexit.unregister(self.stop)
        slot, namespace = self._slot, self._namespace
        self._slot = self._namespace = None
        if slot is None:
            return
        if namespace is not None:
            close(namespace)
        for pid in clients(slot.place):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        slot.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def run(
        self, *argv: str, timeout: float = 30.0, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster; the caller looks at its exit code."""
        return subprocess.run(
            argv,
            env=self.env,
            cwd=self.place.logs,  # where jobs that name no output leave theirs
            timeout=timeout,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
        )

    def job_state(self, job_id: int | str) -> JobState:
        """State of a job, also for some minutes after its end."""
        answer = self.run("scontrol", "-o", "show", "job", str(job_id))
        fields = dict(re.findall(r"(?:^|\s)(JobState|ExitCode)=(\S+)", answer.stdout))
        if len(fields) != 2:
            raise RuntimeError(f"scontrol show job {job_id}: {answer.stderr.strip()}")
        code, _, signalled = fields["ExitCode"].partition(":")
        return JobState(fields["JobState"], int(code), int(signalled or 0))

    def wait(self, job_id: int | str, timeout: float = 60.0) -> JobState:
        """Wait until a job has ended."""
        deadline = time.monotonic() + timeout
        while (found := self.job_state(job_id)).state not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is {found.state} after {timeout:g} s")
            time.sleep(0.1)
        return found

    def log_tails(self, lines: int = 8) -> str:
        """The last lines of every daemon's log that says anything."""
        tails = []
        for log in sorted(self.place.logs.glob("*.out")):
            last = log.read_text(errors="replace").splitlines()[-lines:]
            if last:
                tails.append("\n".join([f"== {log.name}", *last]))
        return "\n".join(tails)

    def wait_until_idle(self) -> None:
        """Wait until every node is free: up, and done with clearing up after a job."""
        deadline = time.monotonic() + START_SECONDS
        assert self._namespace is not None
        said = ""
        while time.monotonic() < deadline and self._namespace.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                answer = self.run("sinfo", "-N", "-h", "-o", "%N %T", timeout=5.0)
                said = answer.stdout + answer.stderr
                states = dict(line.split() for line in answer.stdout.splitlines())
                idle = [name for name in self.settings.node_names if states.get(name) == "idle"]
                if len(idle) == self.settings.nodes:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"the cluster did not come up\n{said}\n{self.log_tails()}")


def main() -> int:
    """Start a cluster, say how to reach it, and keep it until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Throwaway Slurm cluster on this machine.")
    default = Settings()
    parser.add_argument("--nodes", type=int, default=default.nodes)
    parser.add_argument("--gpus-per-node", type=int, default=default.gpus_per_node)
    parser.add_argument("--gpu-kinds", default=",".join(default.gpu_kinds), metavar="A,B,...")
    parser.add_argument("--links", action="store_true", help="a network namespace for each node")
    parser.add_argument("--lost-after", type=int, default=default.lost_after, metavar="SECONDS")
    parser.add_argument("--grace", type=int, metavar="SECONDS", help="a partition that preempts")
    chosen = parser.parse_args()
    reason = ThrowawayCluster.missing()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    settings = Settings(
        nodes=chosen.nodes,
        gpus_per_node=chosen.gpus_per_node,
        gpu_kinds=tuple(chosen.gpu_kinds.split(",")),
        max_nodes=max(chosen.nodes, default.max_nodes),
        links=chosen.links,
        lost_after=chosen.lost_after,
        grace=chosen.grace,
    )
    stops = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    # Blocked from here on, so that a signal waits for sigwait instead of cutting the start short.
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    with ThrowawayCluster(settings) as cluster:
        for name, value in cluster.exports.items():
            print(f"export {name}={shlex.quote(value)}")
        print("# ready; Ctrl-C ends the cluster", flush=True)
        signal.sigwait(stops)
    return 0


if __name__ == "__main__":
    sys.exit(main())
