"""The far side of `checkpoints.sync_to`: what lies there, and what of it is whole. No torch.

    URL/RUN/run.json, recipe.yaml
    URL/RUN/checkpoints/step-N/...   a checkpoint; its manifest.json arrives last
    URL/RUN/final/...                the final weights, likewise

Laid out as a run folder is: copied back by whatever tool, it can be resumed. Without its manifest
a checkpoint is nothing; with one it is whole if every file has the size that is written there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.address import PACKAGES, scheme_of
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import read_record
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.checkpoint.folders import step_of

FINAL = "final"
RECORD = "run.json"
OBJECTS = {"s3", "s3a", "gs", "gcs", "hf", "abfs", "abfss", "az", "oci"}
"""Storage whose folders are only names: making one could make a bucket of a typing error."""

TIMEOUTS = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}
"""Of S3, in seconds: whoever does not answer is asked again later, by us."""


@dataclass(frozen=True)
class Listing:
    """What lies at the address: sizes by file, and the folders that are whole."""

    files: Mapping[str, int] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)
    """Text of the manifest of every whole folder."""

    def steps(self) -> list[int]:
        """Return the steps of the whole checkpoints, oldest first."""
        return sorted(step for name in self.whole if (step := step_of(Path(name))) >= 0)


class Remote:
    """A run's folder at an address. All errors of the storage come through as they are."""

    def __init__(self, url: str) -> None:
        """Open the folder at `url`. Raises UserError where the package for it is missing."""
        import fsspec

        self.url = url.rstrip("/")
        scheme = scheme_of(url)
        try:
            self.fs, path = fsspec.core.url_to_fs(url, **_options(scheme))
        except ImportError as error:
            package = PACKAGES.get(scheme)
            what = f"the package {package}, which is not installed" if package else str(error)
            raise UserError(
                f"checkpoints.sync_to: {scheme}:// needs {what}",
                f"in the job's environment: pip install {package}" if package else "",
            ) from None
        except ValueError as error:  # a scheme that nobody knows
            raise UserError(f"checkpoints.sync_to: {error}") from None
        self.root = str(path).rstrip("/")
        self.objects = scheme in OBJECTS

    def at(self, name: str, *names: str) -> str:
        """Return the storage's own path of something in the folder."""
        return "/".join([self.root, place_of(name), *names])

    def files(self, name: str | None = None) -> dict[str, int]:
        """Return the size of every file in the run's folder, or of one thing in it."""
        self.fs.invalidate_cache()
        top = self.root if name is None else self.at(name)
        try:
            found: dict[str, dict[str, Any]] = self.fs.find(top, detail=True)
        except FileNotFoundError:
            return {}
        start = len(top) + 1
        return {path[start:]: int(info["size"] or 0) for path, info in found.items()}

    def text(self, name: str, *names: str) -> str | None:
        """Return the text of a small file, None where there is none."""
        self.fs.invalidate_cache()
        try:
            data: bytes = self.fs.cat_file(self.at(name, *names))
        except FileNotFoundError:
            return None
        return data.decode("utf-8", "replace")

    def listing(self) -> Listing:
        """Look at everything that lies there."""
        files = self.files()
        whole = {}
        for name in sorted({name for path in files if (name := _name_in(path))}):
            if f"{place_of(name)}/{manifest.NAME}" not in files:
                continue
            text = self.text(name, manifest.NAME)
            held = manifest.parse(text or "")
            if text and held and not short(held[1], files, f"{place_of(name)}/"):
                whole[name] = text
        return Listing(files, whole)

    def owner(self) -> str | None:
        """Return the text of the run.json that lies there, None where there is none."""
        return self.text(RECORD)

    def put(self, local: Path, name: str, *names: str) -> None:
        """Copy a file there and look whether it arrived. Raises OSError where its size differs."""
        path = self.at(name, *names)
        if not self.objects:
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.fs.put_file(str(local), path)
        self.fs.invalidate_cache()
        arrived, size = self.fs.info(path)["size"], local.stat().st_size
        if arrived != size:
            raise OSError(f"{'/'.join([name, *names])} arrived with {arrived:,} of {size:,} bytes")

    def get(self, local: Path, name: str, *names: str) -> None:
        """Copy a file here."""
        local.parent.mkdir(parents=True, exist_ok=True)
        self.fs.get_file(self.at(name, *names), str(local))

    def remove(self, name: str, *, manifest_only: bool = False) -> None:
        """Remove a folder, its manifest first: half a removal leaves nothing that looks whole."""
        self.fs.invalidate_cache()
        mark = self.at(name, manifest.NAME)
        if self.fs.exists(mark):
            self.fs.rm_file(mark)
        if not manifest_only:
            self.fs.invalidate_cache()
            if self.fs.exists(self.at(name)):
                self.fs.rm(self.at(name), recursive=True)

    def prune(self, keep: int) -> None:
        """Keep the newest `keep` whole checkpoints, and of older ones not even remains."""
        found = self.listing()
        kept = found.steps()[-keep:]
        if not kept:
            return
        there = {step_of(Path(name)) for path in found.files if (name := _name_in(path))}
        for step in sorted(there):
            if 0 <= step < kept[0]:
                self.remove(f"step-{step}")


def place_of(name: str) -> str:
    """Return where something lies in a run folder."""
    return f"checkpoints/{name}" if step_of(Path(name)) >= 0 else name


def _name_in(path: str) -> str | None:
    """Return the checkpoint's name, or that of the final weights, that a file belongs to."""
    first, _, rest = path.partition("/")
    if first == FINAL:
        return FINAL
    name = rest.partition("/")[0]
    return name if first == "checkpoints" and step_of(Path(name)) >= 0 else None


def of_run(url: str, run: RunFolder) -> str:
    """Return the address of a run's own folder under the one that a recipe names."""
    return f"{url.rstrip('/')}/{run.root.name}"


def refuse_stranger(run: RunFolder, remote: Remote) -> bool:
    """Return whether this run lies there already. Raises UserError where it is another one."""
    there = remote.owner()
    if there is None:
        return False
    try:
        other = json.loads(there)
        created, who = float(other["created"]), f"{other['name']} of {other['user']}"
    except (ValueError, KeyError, TypeError):
        created, who = None, "its run.json is damaged"
    try:
        mine = read_record(run).created
    except UserError:
        mine = None
    if mine is None or mine != created:
        raise UserError(
            f"{remote.url} holds another run ({who})",
            "choose another --name, or another folder for checkpoints.sync_to",
        )
    return True


def short(parts: Mapping[str, manifest.Part], files: Mapping[str, int], prefix: str) -> str | None:
    """Say which file is missing or has another size, None where all are as the manifest says."""
    for name, part in parts.items():
        size = files.get(prefix + name)
        if size is None:
            return f"{name} is missing"
        if size != part.bytes:
            return f"{name} has {size:,} bytes instead of {part.bytes:,}"
    return None


def _options(scheme: str) -> dict[str, Any]:
    """Return a storage's settings: the user's own from fsspec's files, with shorter time-outs."""
    from fsspec.config import conf

    options: dict[str, Any] = {"skip_instance_cache": True}
    if scheme in {"s3", "s3a"}:
        own = conf.get(scheme, {}).get("config_kwargs", {})
        options["config_kwargs"] = {**TIMEOUTS, **own}
    return options
