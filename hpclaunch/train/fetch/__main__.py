"""`python -m hpclaunch.train.fetch`: fetch what a JSON object on stdin asks for.

Writes JSON objects on stdout, one a line: `{"plan": ...}` once, `{"progress": ...}` twice a second,
`{"result": ...}` at the end; `{"error": ...}` where something cannot be fetched.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError

KEPT_FREE_BYTES = 1_000_000_000
"""Room that is left on a disk beside what is fetched."""
PROGRESS_S = 0.4


def main() -> int:
    """Fetch what stdin asks for; return the exit code."""
    try:
        wanted = json.load(sys.stdin)
        _fetch(wanted)
    except UserError as error:
        _write(error={"message": error.message, "fix": error.fix})
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _write(error={"message": f"{where}{error.strerror or error}", "fix": ""})
        return 1
    return 0


def _fetch(wanted: dict[str, Any]) -> None:
    from huggingface_hub import constants

    from hpclaunch.train.fetch import datasets, listing, resolve
    from hpclaunch.train.fetch.download import download
    from hpclaunch.train.fetch.patience import WAIT_S, patiently

    cache = Path(constants.HF_HUB_CACHE)
    wait_s = float(wanted.get("wait_s", WAIT_S))
    found: list[tuple[listing.Listing, Any]] = []
    for each in wanted["items"]:
        _write(progress={"text": f"asking the hub for {each['name']}"})
        name, revision = each["name"], each["revision"]
        kind = each["kind"] or patiently(partial(resolve.kind_of, name, revision), wait_s)
        item = listing.Item(kind, name, revision, each["subset"])
        if item in [known.item for known, _ in found]:
            continue
        if item.kind == "dataset":
            found.append(patiently(partial(datasets.list_dataset, item), wait_s))
        else:
            found.append((patiently(partial(listing.list_files, item), wait_s), None))
    rows = Path(datasets.rows_folder()) if any(builder for _, builder in found) else cache
    missing = {id(each): each.bytes - each.bytes_here() for each, _ in found}
    plan = {
        "cache": str(cache),
        "needed_bytes": sum(missing.values()) + sum(each.prepared_bytes for each, _ in found),
        "free_bytes": _free(cache),
        "items": [_described(each) | {"missing_bytes": missing[id(each)]} for each, _ in found],
    }
    _write(plan=plan)
    _check_room({cache: sum(missing.values())}, {rows: sum(e.prepared_bytes for e, _ in found)})
    if wanted["dry_run"]:
        return
    for each, builder in found:
        reporter = _Reporter(each.item.name)
        download(each, reporter, wait_s)
        if builder is not None and each.prepared_bytes:
            _write(progress={"text": f"{each.item.name}: writing its rows"})
            datasets.prepare_rows(each.item, builder)
    _write(
        result={
            "items": [
                _described(each)
                | {
                    "fetched_bytes": missing[id(each)],
                    "folder": str(each.folder),
                    **({"rows_folder": str(builder.cache_dir)} if builder is not None else {}),
                }
                for each, builder in found
            ]
        }
    )


def _described(listing: Any) -> dict[str, Any]:
    item = listing.item
    return {
        "kind": item.kind,
        "name": item.name,
        "revision": item.revision,
        "subset": item.subset,
        "commit": listing.commit,
        "files": len(listing.files),
        "bytes": listing.bytes,
    }


def _free(folder: Path) -> int:
    """Return the free bytes of the disk on which a folder is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _check_room(*needs: dict[Path, int]) -> None:
    """Refuse what does not fit on the disks. Raises UserError. A quota is not seen."""
    from hpclaunch.units import size

    disks: dict[int, tuple[Path, int]] = {}
    for folder, needed in (pair for need in needs for pair in need.items()):
        place = folder
        while not place.exists() and place != place.parent:
            place = place.parent
        device = place.stat().st_dev
        before = disks.get(device, (folder, 0))
        disks[device] = (before[0], before[1] + needed)
    for folder, needed in disks.values():
        free = _free(folder)
        if needed and free < needed + KEPT_FREE_BYTES:
            raise UserError(
                f"{size(needed)} are still to be fetched, and {folder} has {size(free)} free",
                "make room, or set HF_HOME to a folder on another disk",
            )


class _Reporter:
    """Writes how far a download is, now and then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = 0.0
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what == self._what and now - self._last < PROGRESS_S and done < total:
            return
        self._what, self._last = what, now
        _write(progress={"text": f"{self._name}: {what}", "done": done, "total": total})


def _write(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    sys.exit(main())
