"""Other ways in which the same failure is logged: its cause stays what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.diagnose.verdicts import Case

NOISE = """\
*|WARNING: apex is not installed: ModuleNotFoundError: No module named 'apex'
*|/home/ada/venv/lib/python3.11/site-packages/torch/utils/cpp_extension.py:9: UserWarning: old
*|[W1121 03:01:01.1 socket.cpp:764] [c10d] The client socket has failed to connect to [node1]:31 \
(errno: 111 - Connection refused).
0.0|wandb: Network error (ConnectTimeout), entering retry loop.
0.0|requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.wandb.ai', port=443): Max \
retries exceeded with url: /graphql
/etc/profile.d/colours.sh: line 3: tput: command not found
/var/spool/slurmd/job00008/slurm_script: line 18: nvidia-smi: command not found
*>{'loss': 1.9, 'epoch': 0.1}
1|[ 12.331] NVRM: Xid (PCI:0000:c1:00): 63, pid='<unknown>', name=<unknown>, Row Remapper: pending
1|[ 13.331] NVRM: Xid (PCI:0000:c1:00): 31, pid=81, name=python, Ch 0000000a
*|Permission denied: /proc/1/environ, going on
0.1|CUDA out of memory, trying a smaller batch: OSError: [Errno 28] No space left on device
*>{'loss': 1.8, 'epoch': 0.2}
*>{'loss': 1.7, 'epoch': 0.3}
*>{'loss': 1.6, 'epoch': 0.4}
"""
"""What was met, and survived, before."""


def after_noise(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with harmless lines before theirs."""
    return [replace(case, log=_with_noise(case.log)) for case in cases]


def _with_noise(log: str) -> str:
    """Return a log with the noise before it, but for the line that begins an attempt."""
    first, _, rest = log.partition("\n")
    return f"{first}\n{NOISE}{rest}" if first.startswith("hpclaunch: job") else NOISE + log


def without_own_logs(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with the job's log alone: ranks' own may lie on another disk, or be gone."""
    return [replace(case, own_logs=False) for case in cases]
