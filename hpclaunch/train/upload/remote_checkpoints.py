"""The complete checkpoints at the address of `checkpoints.sync_to`, and their download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.events import log_event, read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.removal import remove
from hpclaunch.train.checkpoint import digests, folders, manifest
from hpclaunch.train.distributed import DistContext, all_gather_object, barrier
from hpclaunch.train.failure import one_line
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.upload.remote import Listing, RemoteFolder, check_owner, run_url

DOWNLOADING = ".fetched"
"""Where a checkpoint is downloaded before it is renamed into place."""


class RemoteCheckpoints:
    """The checkpoints that can be downloaded from the address, the same on all ranks."""

    def __init__(self, run: RunFolder, context: DistContext, recipe: Recipe) -> None:
        """List them: the main process does, and sends the list to all. Collective.

        Raises UserError, on all ranks, where another run's are at the address.
        """
        self.run = run
        self.context = context
        url = recipe.checkpoints.sync_to
        self.url = url and run_url(url, run)
        self.problem: str | None = None
        """Why they could not be listed."""
        self.complete: Mapping[str, str] = {}
        """Text of the manifest of every complete checkpoint."""
        if self.url is None:
            return
        refused: UserError | None = None
        if context.is_main_process:
            try:
                remote = self._folder()
                check_owner(run, remote)
                self.complete = _checkpoints(remote.listing())
            except UserError as error:
                refused = error
            except Exception as error:  # whatever a storage's library raises
                self.problem = one_line(error)
        refused, self.problem, self.complete = all_gather_object(
            context, (refused, self.problem, self.complete)
        )[0]
        if refused is not None:
            raise refused

    def fetch(self, name: str) -> str | None:
        """Download a checkpoint, each node its files, and rename it into place when verified.

        Return the error, the same on all ranks; None if there was none. Collective.
        """
        context = self.context
        folder = self.run.checkpoints / DOWNLOADING
        different = all_gather_object(context, self._check_origin(name))[0]
        if different is not None:
            return different
        if context.is_main_process:
            log_line(f"fetching {name} from {self.url}")
            remove(folder)
        barrier()
        problem = None
        if context.local_rank == 0:
            try:
                self._fetch_own_files(name, folder)
            except Exception as error:  # whatever a storage's library raises
                problem = one_line(error)
        problem = next((each for each in all_gather_object(context, problem) if each), None)
        if problem is None:
            damage = manifest.find_damage(folder, context.rank, context.world_size)
            problem = next((each for each in all_gather_object(context, damage) if each), None)
        if context.is_main_process:
            if problem is None:
                folders.replace(self.run, folder, name)
            remove(folder)
        barrier()
        return problem

    def _check_origin(self, name: str) -> str | None:
        """Return why a copy is not what this run wrote; log it where that cannot be known."""
        if not self.context.is_main_process:
            return None
        step = folders.step_of(Path(name))
        known, problem = digests.find_difference(self.run, step, self.complete[name])
        if not known:
            log_line(
                f"{name}: {self.run.checkpoint_digests.name} has no digest of it, so that who "
                "wrote it is not known; it can hold numbers only"
            )
        return problem

    def _fetch_own_files(self, name: str, folder: Path) -> None:
        text = self.complete[name]
        metadata, entries = manifest.parse(text) or ({}, {})
        remote = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        ranks, context = int(metadata.get("ranks", 1)), self.context
        for file in manifest.files_of_node(entries, ranks, context.node, context.nodes):
            remote.get(folder / file, name, file)
        if context.is_main_process:
            (folder / manifest.NAME).write_text(text, encoding="utf-8")

    def _folder(self) -> RemoteFolder:
        return RemoteFolder(self.url or "")

    def log_damage(self, name: str, why: str) -> None:
        """Log that a checkpoint could not be downloaded or is damaged."""
        if self.context.is_main_process:
            log_event(self.run.events, "checkpoint damaged", path=f"{self.url}: {name}", why=why)
            log_line(f"{name} cannot be had from {self.url}: {why}")


def was_uploaded(run: RunFolder) -> bool:
    """Return whether a checkpoint of this run was uploaded at some time, by its events."""
    events = read_events(run.events)
    return any(event["event"] == "synced" and event.get("step") for event in events)


def _checkpoints(listing: Listing) -> dict[str, str]:
    return {f"step-{step}": listing.complete[f"step-{step}"] for step in listing.steps()}
