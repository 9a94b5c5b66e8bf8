"""The address of `checkpoints.sync_to`: which copies are there and complete. Without torch.

    URL/RUN/run.json, recipe.yaml
    URL/RUN/checkpoints/step-N/...   a checkpoint; its manifest.json arrives last
    URL/RUN/final/...                the final weights, likewise

The layout is a run folder's: copied back by any tool, it can be resumed. A copy without its
manifest, or with a file of the wrong size, is ignored.
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
from hpclaunch.train.checkpoint.best import evaluated_copies
from hpclaunch.train.checkpoint.folders import step_of

FINAL = "final"
RECORD = "run.json"
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "hf", "abfs", "abfss", "az", "oci"}
"""Storage without real folders: creating one could create a bucket after a typing error."""

S3_OPTIONS = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}
"""Time-outs in seconds. The copiers retry by themselves, so S3's client retries once."""


@dataclass(frozen=True)
class Listing:
    """What is at the address: sizes in bytes by file, and the complete folders."""

    files: Mapping[str, int] = field(default_factory=dict)
    complete: Mapping[str, str] = field(default_factory=dict)
    """Text of the manifest of every complete folder."""

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, oldest first."""
        return sorted(step for name in self.complete if (step := step_of(Path(name))) >= 0)


class RemoteFolder:
    """A run's folder at an address. Errors of the storage are passed on unchanged."""

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
        except ValueError as error:  # an unknown scheme
            raise UserError(f"checkpoints.sync_to: {error}") from None
        self.root = str(path).rstrip("/")
        self.is_object_store = scheme in OBJECT_STORES

    def path(self, name: str, *names: str) -> str:
        """Return the storage's own path of a checkpoint, the final weights or a file."""
        return "/".join([self.root, path_of(name), *names])

    def files(self, name: str | None = None) -> dict[str, int]:
        """Return the size of every file in the run's folder, or of one thing in it."""
        self.fs.invalidate_cache()
        top = self.root if name is None else self.path(name)
        try:
            infos: dict[str, dict[str, Any]] = self.fs.find(top, detail=True)
        except FileNotFoundError:
            return {}
        start = len(top) + 1
        return {path[start:]: int(info["size"] or 0) for path, info in infos.items()}

    def text(self, name: str, *names: str) -> str | None:
        """Return the text of a small file, None if it does not exist."""
        self.fs.invalidate_cache()
        try:
            data: bytes = self.fs.cat_file(self.path(name, *names))
        except FileNotFoundError:
            return None
        return data.decode("utf-8", "replace")

    def listing(self) -> Listing:
        """Return everything that is there."""
        files = self.files()
        complete = {}
        for name in sorted({name for path in files if (name := _item_of(path))}):
            if f"{path_of(name)}/{manifest.NAME}" not in files:
                continue
            text = self.text(name, manifest.NAME)
            parsed = manifest.parse(text or "")
            if text and parsed and not missing_file(parsed[1], files, f"{path_of(name)}/"):
                complete[name] = text
        return Listing(files, complete)

    def owner(self) -> str | None:
        """Return the text of the run.json there, None without one."""
        return self.text(RECORD)

    def put(self, local: Path, name: str, *names: str) -> None:
        """Upload a file and compare its size. Raises OSError where its size differs."""
        path = self.path(name, *names)
        if not self.is_object_store:
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.fs.put_file(str(local), path)
        self.fs.invalidate_cache()
        arrived, size = self.fs.info(path)["size"], local.stat().st_size
        if arrived != size:
            raise OSError(f"{'/'.join([name, *names])} arrived with {arrived:,} of {size:,} bytes")

    def get(self, local: Path, name: str, *names: str) -> None:
        """Download a file."""
        local.parent.mkdir(parents=True, exist_ok=True)
        self.fs.get_file(self.path(name, *names), str(local))

    def remove(self, name: str, *, manifest_only: bool = False) -> None:
        """Remove a folder, its manifest first: what half a removal leaves is not complete."""
        self.fs.invalidate_cache()
        manifest_path = self.path(name, manifest.NAME)
        if self.fs.exists(manifest_path):
            self.fs.rm_file(manifest_path)
        if not manifest_only:
            self.fs.invalidate_cache()
            if self.fs.exists(self.path(name)):
                self.fs.rm(self.path(name), recursive=True)

    def prune(self, keep: int, *, best: bool = False) -> None:
        """Remove all but the newest `keep` complete checkpoints, and what is left of older ones.

        `best`: the one with the lowest evaluation loss stays, too.
        """
        listing = self.listing()
        kept = listing.steps()[-keep:]
        if not kept:
            return
        steps = {step_of(Path(name)) for path in listing.files if (name := _item_of(path))}
        if best:
            steps -= {each.step for each in evaluated_copies(listing.complete)[:1]}
        for step in sorted(steps):
            if 0 <= step < kept[0]:
                self.remove(f"step-{step}")


def path_of(name: str) -> str:
    """Return the path within a run folder of a checkpoint, the final weights or a file."""
    return f"checkpoints/{name}" if step_of(Path(name)) >= 0 else name


def _item_of(path: str) -> str | None:
    """Return the checkpoint's name, or that of the final weights, that a file belongs to."""
    first, _, rest = path.partition("/")
    if first == FINAL:
        return FINAL
    name = rest.partition("/")[0]
    return name if first == "checkpoints" and step_of(Path(name)) >= 0 else None


def run_url(url: str, run: RunFolder) -> str:
    """Return the address of a run's own folder under the one that a recipe names."""
    return f"{url.rstrip('/')}/{run.root.name}"


def check_owner(run: RunFolder, remote: RemoteFolder) -> bool:
    """Return whether this run is there already. Raises UserError where another run is."""
    remote_text = remote.owner()
    if remote_text is None:
        return False
    try:
        other = json.loads(remote_text)
        created, who = float(other["created"]), f"{other['name']} of {other['user']}"
    except (ValueError, KeyError, TypeError):
        created, who = None, "its run.json is damaged"
    try:
        own_created = read_record(run).created
    except UserError:
        own_created = None
    if own_created is None or own_created != created:
        raise UserError(
            f"{remote.url} holds another run ({who})",
            "choose another --name, or another folder for checkpoints.sync_to",
        )
    return True


def missing_file(
    entries: Mapping[str, manifest.FileEntry], files: Mapping[str, int], prefix: str
) -> str | None:
    """Return which file is missing or has the wrong size, None where all match the manifest."""
    for name, entry in entries.items():
        size = files.get(prefix + name)
        if size is None:
            return f"{name} is missing"
        if size != entry.bytes:
            return f"{name} has {size:,} bytes instead of {entry.bytes:,}"
    return None


def _options(scheme: str) -> dict[str, Any]:
    """Return a storage's settings: the user's own from fsspec's files, with shorter time-outs."""
    from fsspec.config import conf

    options: dict[str, Any] = {"skip_instance_cache": True}
    if scheme in {"s3", "s3a"}:
        own = conf.get(scheme, {}).get("config_kwargs", {})
        options["config_kwargs"] = {**S3_OPTIONS, **own}
    return options
