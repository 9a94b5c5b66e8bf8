"""A fork server among the processes of a throwaway cluster, for the trainings of its jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.forkserver.clients import children_of
from tests.forkserver.fixtures import SITE
from tests.forkserver.naming import room
from tests.forkserver.site.sitecustomize import SOCKET
from tests.slurm.cluster import ThrowawayCluster
from tests.slurm.user import ROOT


class NodeServer:
    """Starts the server in the cluster's namespaces, where its nodes have names; ends with it.

    `packages`: a folder of what its programs find installed besides. `what`: see the server.
    """

    def __init__(
        self, cluster: ThrowawayCluster, packages: Path | None = None, what: str = "training"
    ) -> None:
        socket = (packages or cluster.place.folder) / "forks.socket"
        path = f"{packages}:{ROOT}" if packages else str(ROOT)
        argument, variable = room()
        program = ("-m", "tests.forkserver.server", str(socket), what, argument)
        self._server = subprocess.Popen(
            [
                *("nsenter", f"--target={children_of(cluster.starter)[0]}", "--mount", "--pid"),
                *(sys.executable, *program),
            ],
            env=os.environ
            | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": path}
            | variable,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n", "the fork server did not start"
        self.variables = {
            SOCKET: str(socket),
            "PYTHONPATH": f"{SITE}:{path}",
        }
        """What a user's environment needs for it."""

    def stop(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)
