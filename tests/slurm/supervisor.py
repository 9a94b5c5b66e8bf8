"""First process of a cluster's PID namespace: starts the daemons, reaps, ends with its starter.

Run as `supervisor.py FOLDER` inside fresh mount and PID namespaces. When its standard input ends,
because the starter closed it or died in whatever way, this process exits and the kernel then kills
everything in the namespace: daemons, job steps, orphans.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MUNGE_SECONDS = 10.0


def start(name: str, command: list[str], log: Path) -> None:
    """Start COMMAND on a machine called NAME (a UTS namespace), its output going to LOG."""
    with log.open("ab") as output:
        subprocess.Popen(
            ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


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
    signal.signal(signal.SIGCHLD, reap)
    controller = plan["controller"]
    start(controller, plan["munged"], folder / "log" / "munged.out")
    deadline = time.monotonic() + MUNGE_SECONDS
    while not Path(plan["munge_socket"]).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    start(controller, plan["slurmctld"], folder / "log" / "slurmctld.out")
    for name, command in plan["nodes"].items():
        start(name, command, folder / "log" / f"slurmd-{name}.out")
    while os.read(0, 4096):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
