"""What torchrun prints of its ranks' ends, in three generations, srun after it, and tracebacks."""

from __future__ import annotations

import re
from collections.abc import Iterator

SITE = "/home/ada/venv/lib/python3.11/site-packages/"
_PACKAGES = re.compile(r"^(torch|transformers|datasets|huggingface_hub|wandb|requests|httpx|\w+)/")
_LAUNCH = """\
Traceback (most recent call last):
  File "/home/ada/venv/bin/accelerate", line 6, in <module>
    sys.exit(main())
  File "/home/ada/venv/lib/python3.11/site-packages/torch/distributed/launcher/api.py", line 270, \
in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
"""
_FAILED = {
    "@new": "E1121 03:36:{s:02}.161000 408 torch/distributed/elastic/multiprocessing/api.py:1002] ",
    "@mid": "[2026-11-21 03:36:{s:02},914] torch.distributed.elastic.multiprocessing.api: [ERROR] ",
    "@old": "ERROR:torch.distributed.elastic.multiprocessing.api:",
}
_SIGNALS = {-6: "SIGABRT", -9: "SIGKILL", -11: "SIGSEGV", -15: "SIGTERM", -7: "SIGBUS",
            -4: "SIGILL", -2: "SIGINT", -24: "SIGXCPU"}  # fmt: skip
_SRUN = """\
srun: error: {host}: task {node}: Exited with exit code 1
srun: Terminating StepId=8.1
slurmstepd-{other}: error: *** STEP 8.1 ON {other} CANCELLED AT 2026-11-21T03:37:49 ***
"""


def lines(
    directive: str, at: int, hosts: tuple[str, ...], per_node: int
) -> Iterator[tuple[int | None, str]]:
    """Return node and text of each line that a directive stands for; `at`: seconds of its time."""
    name, *words = directive.split()
    if name == "@srun":
        node = int(words[0])
        text = _SRUN.format(host=hosts[node], node=node, other=hosts[1 - node])
        yield from ((None, line) for line in text.splitlines())
        return
    ends = [(int(rank), int(code)) for rank, _, code in (word.partition(":") for word in words)]
    first, code = ends[0]
    node, local = divmod(first, per_node)
    failed = _FAILED[name].format(s=47 + at)
    binary = f"failed (exitcode: {code}) local_rank: {local} (pid: {452 + local}) of binary: "
    text = f"{failed}{binary}/home/ada/venv/bin/python\n{_LAUNCH}"
    if len(ends) > 1:
        text += "Failures:\n"
        text += "".join(
            _block(number, end, at + 1, hosts, per_node)
            for number, end in enumerate(ends[1:], start=1)
        )
    else:
        text += "Failures:\n  <NO_OTHER_FAILURES>\n"
    line = "------------------------------------------------------------\n"
    text += f"{line}Root Cause (first observed failure):\n"
    text += _block(0, ends[0], at, hosts, per_node)
    yield from ((node, line) for line in text.splitlines())


def _block(
    number: int, end: tuple[int, int], at: int, hosts: tuple[str, ...], per_node: int
) -> str:
    rank, code = end
    node, local = divmod(rank, per_node)
    why = "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"
    if code < 0:
        why = f"Signal {-code} ({_SIGNALS[code]}) received by PID {452 + local}"
    return (
        f"[{number}]:\n  time      : 2026-11-21_03:36:{46 + at:02}\n  host      : {hosts[node]}\n"
        f"  rank      : {rank} (local_rank: {local})\n  exitcode  : {code} (pid: {452 + local})\n"
        f"  error_file: <N/A>\n  traceback : {why}\n"
    )


def traceback(text: str, rank: int) -> Iterator[str]:
    """Return the lines that a rank's text stands for: `@tb` and `@tbr` are tracebacks."""
    if not text.startswith("@tb"):
        yield text.replace("{r}", str(rank))
        return
    name, _, frames = text.partition(" ")
    label = f"[rank{rank}]: " if name == "@tbr" else ""
    yield f"{label}Traceback (most recent call last):"
    for frame in frames.split("; "):
        place, _, code = frame.partition(" ")
        file, _, number = place.rpartition(":")
        path = SITE + file if _PACKAGES.match(file) else f"/home/ada/{file}"
        yield f'{label}  File "{path}", line {number}, in run'
        yield f"{label}    {code}"
