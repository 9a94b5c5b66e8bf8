"""First process of a cluster's PID namespace: starts the daemons, reaps, ends with its starter.

Run as `supervisor.py FOLDER` inside fresh mount and PID namespaces, and a network namespace where
the nodes are to have links. A line on its standard input names a node whose slurmd is to be started
again. When its standard input ends, because the starter closed it or died in whatever way, this
process exits and the kernel then kills everything in the namespace: daemons, job steps, orphans;
links and bridge go with the last process behind them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MUNGE_SECONDS = 10.0
BRIDGE = "cluster"
HOLDER = "THROWAWAY_NODE"
"""Variable of the process that keeps a node's namespaces: the cluster's folder, and the node."""


def start(name: str, command: list[str], log: Path, holder: int | None = None) -> None:
    """Start COMMAND on a machine called NAME, its output going to LOG.

    The machine is a UTS namespace of its own, or the namespaces that process HOLDER keeps.
    """
    own = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
    held = ["nsenter", f"--target={holder}", "--net", "--uts", "--"]
    with log.open("ab") as output:
        subprocess.Popen(
            [*(held if holder else own), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def ip(*words: str, inside: int | None = None) -> None:
    """Run `ip`, in the network of process INSIDE where one is named."""
    where = ["nsenter", f"--target={inside}", "--net", "--"] if inside else []
    subprocess.run([*where, "ip", *words], check=True)


def plug_in(name: str, address: str, folder: Path) -> int:
    """Make a machine with a link to the bridge; gives the process that keeps its namespaces."""
    holder = subprocess.Popen(
        ["unshare", "--net", "--uts", "sh", "-c", 'hostname "$0" && exec sleep infinity', name],
        env={**os.environ, HOLDER: f"{folder}/{name}"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ).pid
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{holder}/ns/net").readlink() == here:
        time.sleep(0.005)
    ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
    ip("link", "set", name, "master", BRIDGE, "up")
    ip("address", "add", address, "dev", "eth0", inside=holder)
    ip("link", "set", "eth0", "up", inside=holder)
    ip("link", "set", "lo", "up", inside=holder)
    return holder


def network(links: dict[str, str], controller: str, folder: Path) -> dict[str, int]:
    """Make the bridge, on which the controller sits, and every node with a link to it."""
    if not links:
        return {}
    ip("link", "set", "lo", "up")
    # Of a fixed address: by itself it takes the lowest of its links', another whenever one comes.
    ip("link", "add", BRIDGE, "address", "02:00:00:00:00:01", "type", "bridge")
    ip("address", "add", links[controller], "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    nodes = {name: address for name, address in links.items() if name != controller}
    return {name: plug_in(name, address, folder) for name, address in nodes.items()}


def reap(*_: object) -> None:
    """Collect ended processes; a zombie would count as a living member of its job step."""
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def main() -> int:
    """Make the names resolvable, start munged, then Slurm's daemons, then wait for the end."""
    folder = Path(sys.argv[1])
    plan = json.loads((folder / "plan.json").read_text())
    # This namespace's own /etc/hosts; the machine's file stays as it is.
    subprocess.run(["mount", "--bind", folder / "hosts", "/etc/hosts"], check=True)
    controller = plan["controller"]
    holders = network(plan["links"], controller, folder)
    signal.signal(signal.SIGCHLD, reap)
    start(controller, plan["munged"], folder / "log" / "munged.out")
    deadline = time.monotonic() + MUNGE_SECONDS
    while not Path(plan["munge_socket"]).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    start(controller, plan["slurmctld"], folder / "log" / "slurmctld.out")
    waiting = list(plan["nodes"])
    while True:
        for name in waiting:
            log = folder / "log" / f"slurmd-{name}.out"
            start(name, plan["nodes"][name], log, holders.get(name))
        line = sys.stdin.readline()
        if not line:
            return 0
        waiting = line.split()


if __name__ == "__main__":
    sys.exit(main())
