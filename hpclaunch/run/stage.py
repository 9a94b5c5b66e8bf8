"""stage.json: which stage a run is, of which models, with which settings."""

from __future__ import annotations

from typing import Any

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.regular_file import read_regular
from hpclaunch.run.stage_settings import StageSettings

MAX_BYTES = 1 << 22
"""Of stage.json: most of it is prompts."""
MAX_RESULT_BYTES = 1 << 26
MOST_STAGES = 20
"""Stages that follow one another: what has more goes round in a circle."""
FORMAT = 1
"""Raised when a reader of old could misread a new file."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that a stage takes: a run's weights, or a model by its folder or hub id."""

    name: str
    """As messages call it: the run's name, the folder or the hub id."""
    run: str | None = None
    """Folder of the run; None for a model that is no run's."""
    checkpoint: str | None = None
    """`step-N` of the run; None takes its final weights."""
    model: str | None = None
    """Folder or hub id of a model that is no run's."""
    revision: str | None = None
    """Hub commit, tag or branch."""
    fingerprint: str = ""
    """Of the weights' files: names, sizes, times. '' where they were not there yet, or are on the
    hub."""


class StageRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stage.json holds."""

    format: int = FORMAT
    sources: tuple[Source, ...] = ()
    settings: StageSettings
    parallel: bool = False
    """Started as a process for each GPU, by accelerate."""
    sampled: bool = True
    """The nodes are sampled while it runs."""


class StageResults(msgspec.Struct, frozen=True, kw_only=True):
    """What results.json holds: written last, so that a stage which has it ended well."""

    format: int = FORMAT
    stage: str
    fingerprints: tuple[str, ...] = ()
    """Of the sources as they were read."""
    seconds: float
    """Of the stage's own work, without the start of its process."""
    peak_host_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    """Of the fullest GPU; None without one."""
    values: dict[str, Any] = {}
    """What the stage found out: by the stage's own names."""


def stage_text(record: StageRecord) -> str:
    """Return the text of stage.json."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2).decode() + "\n"


def read_stage(folder: RunFolder) -> StageRecord | None:
    """Return what stage a run is; None for one without stage.json.

    Raises UserError where the file is damaged, too long, no plain file or of a newer version.
    """
    try:
        data = read_regular(folder.stage, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{folder.stage} cannot be read: {error.strerror or error}") from None
    try:
        record = msgspec.json.decode(data, type=StageRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{folder.stage} is damaged, or of a newer hpclaunch: {error}") from None
    if record.format > FORMAT:
        raise UserError(f"{folder.stage} was written by a newer hpclaunch", "upgrade hpclaunch")
    return record


def training_run(folder: RunFolder) -> RunFolder | None:
    """Return the training behind a run: of a stage, that of its first source, and so on.

    None where a model was taken that is no run's. Raises UserError for a damaged stage.json.
    """
    for _ in range(MOST_STAGES):
        found = read_stage(folder)
        if found is None:
            return folder
        run = found.sources[0].run if found.sources else None
        if run is None:
            return None
        folder = RunFolder.at(run)
    return None


def write_results(folder: RunFolder, results: StageResults) -> None:
    """Write results.json, whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(results), indent=2).decode()
    write_atomic(folder.results, text + "\n")


def read_results(folder: RunFolder) -> StageResults | None:
    """Return what a stage found out; None where it has not ended well, or the file is damaged."""
    try:
        data = read_regular(folder.results, MAX_RESULT_BYTES)
        return msgspec.json.decode(data, type=StageResults)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
