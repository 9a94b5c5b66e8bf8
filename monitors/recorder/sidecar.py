"""Record the GPUs and the host of this node, once a second, until told to stop.

    python -m monitors.recorder --out DIR [--node NAME] [--interval 1.0] [--parent PID]
        [--fence FILE TOKEN]

Appends to NODE.samples.jsonl in DIR, and moves older samples from there to NODE.samples.blocks;
`monitors.storage.formats` describes both files. Which ranks' main threads sleep stands in
NODE.ranks.json (`monitors.storage.rank_states`). Ends with exit code 0 on SIGTERM, SIGINT, SIGHUP,
SIGUSR2 (srun passes that one on to its tasks), the end of PID, or when FILE holds another text than
TOKEN; ignores SIGUSR1, Slurm's warning.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from monitors.recorder.clock import SystemClock
from monitors.recorder.devices.detect import AnySource
from monitors.recorder.gpu_thread import GpuSamplerThread
from monitors.recorder.host import HostSampler
from monitors.recorder.loop import Recorder, Settings
from monitors.recorder.processes import default_node
from monitors.recorder.procfs import HostFiles
from monitors.recorder.rank_watch import RankWatch
from monitors.storage.journal import Journal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sidecar; return the exit code: 0 done, 1 failed, with the reason on stderr."""
    args = _parser().parse_args(arguments)
    clock = SystemClock()  # first: from here on a signal ends the recording cleanly
    gpus = GpuSamplerThread(AnySource())
    fence_file, fence_token = args.fence or (None, "")
    settings = Settings(
        args.node, args.interval, args.parent, fence_file and Path(fence_file), fence_token
    )

    code = 0
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        journal = Journal(args.out, args.node)
        host = HostSampler(HostFiles(), clock, RankWatch(args.out, args.node))
        Recorder(settings, clock, host, gpus, journal).run()
    except OSError as error:
        print(f"sidecar: cannot record into {args.out}: {error.strerror}", file=sys.stderr)
        code = 1
    except Exception as error:  # in a job's log, one line is enough
        text = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"sidecar: failed: {text}", file=sys.stderr)
        code = 1
    if gpus.stuck:
        # A thread inside a blocked driver could hold up the interpreter's way out.
        sys.stderr.flush()
        os._exit(code)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monitors.recorder", description="Record this node's GPUs and host."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the record")
    parser.add_argument("--node", type=_node, default=default_node(), help="name of this node")
    parser.add_argument("--interval", type=_interval, default=1.0, help="seconds between ticks")
    parser.add_argument("--parent", type=int, help="end when the process with this id has ended")
    parser.add_argument(
        "--fence",
        "--mark",  # what older job scripts call it
        nargs=2,
        metavar=("FILE", "TOKEN"),
        help="end when the file holds another text",
    )
    return parser


def _node(text: str) -> str:
    if not text or "/" in text or text.startswith("."):
        raise argparse.ArgumentTypeError(f"{text!r} cannot begin a file name")
    return text


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.05 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("must be between 0.05 and 3600 seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
