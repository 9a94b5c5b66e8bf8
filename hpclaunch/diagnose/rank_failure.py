"""How one rank ended: by an exception of its own, by a signal, or because of another rank."""

from __future__ import annotations

import re
import time
from pathlib import Path

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.cause import Clue
from hpclaunch.frozen import frozen

_TORN_CHECKPOINT = re.compile(rb"CheckpointException ranks:dict_keys\(\[([\d, ]*)\]\)")
"""How every rank names those that could not write their part of a checkpoint."""
_AMONG_RANKS = re.compile(
    rb"gloo|nccl|NCCL|c10d|ProcessGroup|TCPStore|DistNetwork|DistStore|DistBackend"
    rb"|torch/distributed/(?!elastic)"
)
"""A lost connection was one to another rank; without any of these it was one to a service."""
_OF_SERVICE = re.compile(
    rb"(?:requests|urllib3|httpx|httpcore|aiohttp|botocore|boto3|huggingface_hub|wandb|mlflow|http"
    rb"|google|azure|fsspec|s3fs|gcsfs|comet_ml|neptune|clearml|swanlab)\."
)
_OF_ANY = {"peer_lost", "network"}
"""Phrases that lost services and lost ranks have in common."""


@frozen
class RankFailure:
    """How one rank ended."""

    error: str
    """One line: the exception and its message; '' of a rank that printed none."""
    text: bytes = b""
    """Its traceback with the whole message, or the end of its output."""
    context: bytes = b""
    """What it printed just before."""
    rank: int | None = None
    local_rank: int | None = None
    node: int | None = None
    host: str | None = None
    at: float = 0.0
    """Unix seconds; 0 where it is not known."""
    code: int | None = None
    """Exit code; -N for a signal N."""
    fix: str = ""
    """The fix that the trainer's error names."""
    file: Path | None = None
    line: int | None = None
    """Where in the file the error stands, counted from 1."""
    before: int | None = None
    """Lines of the file before `text`; None where they were not counted."""
    error_at: int | None = None
    """Which line of `text` names the error, from 0; None: the last."""
    is_collateral: bool = False
    """It looks like the consequence of another rank's failure."""
    own_message: bool = False
    """The program raised its error by a line of its own: what the message quotes shows nothing."""
    is_first: bool = False
    """Its launcher saw it fail before the other ranks of its node."""

    @property
    def silent(self) -> bool:
        """It was ended by a signal, and printed no error."""
        return not self.error

    @property
    def system_words(self) -> bytes:
        """Its text without the message of an exception that the program raised itself."""
        if not self.own_message:
            return self.text
        lines = self.text.split(b"\n")
        at = len(lines) - 1 if self.error_at is None else self.error_at
        return b"\n".join([*lines[:at], *[b""] * (len(lines) - at)])

    def clue(self) -> Clue:
        """Return the error as evidence."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at)) if self.at else ""
        return Clue(self.error, self.file, self.line, when, self.node, self.local_rank)


def is_collateral(error: str, text: bytes = b"") -> bool:
    """Return whether an error looks like the consequence of a dead or slow peer.

    `text`: the whole traceback. A connection lost outside torch.distributed was one to a service.
    """
    raw = error.encode("utf-8", errors="replace")
    names = patterns.collateral(raw)
    if not names or _OF_SERVICE.match(raw):
        return False
    return bool(names - _OF_ANY or _AMONG_RANKS.search(raw + text))


def others_failed(text: bytes, rank: int) -> bool:
    """Return whether a rank's output blames other ranks for a failed checkpoint."""
    match = _TORN_CHECKPOINT.search(text)
    return match is not None and str(rank).encode() not in match.group(1).replace(b",", b"").split()
