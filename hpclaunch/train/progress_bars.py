"""The libraries' progress bars as counts of the phase: nothing is drawn."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm as plain_tqdm

from hpclaunch.run.phase import BYTES
from hpclaunch.train import phases
from hpclaunch.train.hub import offline

QUIET = {"disable": False, "miniters": 1, "mininterval": 0.5}
"""Options of a bar that reports twice a second at most; it draws into a buffer, never used."""
HUB_S = 10.0
"""Seconds that the hub may take to say how large the files are."""


class PhaseBar(plain_tqdm):  # type: ignore[misc]  # tqdm is untyped here
    """A bar that is a phase of its own for as long as it is open."""

    monitor_interval = 0  # no thread that looks after it

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take tqdm's own arguments."""
        self._phases = phases.current()
        self._pushed = False
        _begin(self, arguments, options)

    def display(self, *_: Any, **__: Any) -> None:
        """Report the count."""
        if self._phases is None:
            return
        if not self._pushed:
            self._pushed = True
            self._phases.push(_name(self.desc))
        self._phases.count(self.n, self.total, _unit(self.unit))

    def close(self) -> None:
        """End the phase."""
        log, pushed, self._phases, self._pushed = self._phases, self._pushed, None, False
        if pushed and log is not None:
            log.pop()
        plain_tqdm.close(self)


class DownloadBar(plain_tqdm):  # type: ignore[misc]  # tqdm is untyped here
    """The hub's bars of one download: bytes that have arrived of all that are missing."""

    monitor_interval = 0
    missing_bytes: float | None = None
    """How many there are to download; None: as many as the hub's own bar knows of so far."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take tqdm's own arguments."""
        _begin(self, arguments, options)

    def display(self, *_: Any, **__: Any) -> None:
        """Report the count."""
        log = phases.current()
        if log is None:
            return
        # Of three bars this is the one whose total grows with each file that begins.
        if self.unit == BYTES and str(self.desc).startswith("Reconstructing"):
            total = max(self.missing_bytes or 0, self.total or 0)
            log.count(self.n, total or None, BYTES)
        else:
            log.moves()


def _begin(bar: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    kept = {name: value for name, value in options.items() if name != "name"}
    plain_tqdm.__init__(bar, *arguments, **(kept | QUIET | {"file": io.StringIO()}))


# tqdm's own lock between processes would start one that keeps track of it.
for _bar in (PhaseBar, DownloadBar):
    _bar.set_lock(threading.RLock())


def report_progress_bars() -> None:
    """Let the bars of datasets and Transformers report here. Call it in the first rank alone."""
    import datasets
    from transformers.utils import logging

    shown: Any = datasets.utils.tqdm  # imported by name all over the library: changed in place
    for name in ("__init__", "display", "close", "monitor_interval", "_lock"):
        setattr(shown, name, PhaseBar.__dict__[name])
    logging.set_tqdm_hook(lambda _, arguments, options: PhaseBar(*arguments, **options))


def download_bar(
    name: str, revision: str | None, allowed: Sequence[str], ignored: Sequence[str]
) -> type[DownloadBar]:
    """Return the class of bars for the download of a hub model's files of these patterns."""

    class Bar(DownloadBar):
        missing_bytes = _missing_bytes(name, revision, allowed, ignored)

    return Bar


def _missing_bytes(
    name: str, revision: str | None, allowed: Sequence[str], ignored: Sequence[str]
) -> float | None:
    """Return how many bytes are not in the cache yet; None where the hub does not say."""
    if phases.current() is None or offline():
        return None
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.utils._paths import filter_repo_objects

    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=HUB_S)
        files = filter_repo_objects(
            info.siblings or [],
            allow_patterns=list(allowed),
            ignore_patterns=list(ignored),
            key=lambda file: file.rfilename,
        )
        missing = [
            file.size or 0
            for file in files
            if not isinstance(try_to_load_from_cache(name, file.rfilename, revision=info.sha), str)
        ]
    except Exception:  # the download itself says what is wrong
        return None
    return float(sum(missing))


def _name(description: str | None) -> str:
    text = (description or "").rstrip(": ")
    return text[:1].lower() + text[1:] or "working"


def _unit(unit: str) -> str:
    known = {"B": BYTES, "it": "", "ba": "batches"}
    return known.get(unit.strip(), unit.strip())
