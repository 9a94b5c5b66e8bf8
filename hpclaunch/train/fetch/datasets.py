"""Datasets: which files `load_dataset` reads, and their rows in its own cache.

Offline, `datasets` looks only there: files in the hub's cache are not enough.
"""

from __future__ import annotations

from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.train.fetch.listing import Item, Listing, repository_files
from hpclaunch.train.hub import explain

ROWS_PER_BYTE = 2
"""Size of a dataset's rows against its files, where the dataset does not say it; an estimate."""


def list_dataset(item: Item) -> tuple[Listing, Any]:
    """Return the files that a dataset is read from, and its builder. Raises UserError."""
    from datasets import load_dataset_builder

    everything = repository_files(item)
    try:
        with explain("dataset", item.name):
            builder = load_dataset_builder(item.name, item.subset, revision=item.revision)
    except UserError as error:
        if "Config name is missing" not in error.message:
            raise
        configs = error.message.partition("available configs: ")[2].partition(" Example")[0]
        raise UserError(
            f"dataset {item.name} has several configurations: {configs}",
            f"name one: datasets/{item.name}:CONFIG, or data.subset in the recipe",
        ) from error
    files = builder.config.data_files or {}
    read = {_path_of(str(url)) for urls in files.values() for url in urls}
    chosen = tuple(file for file in everything.files if file.path in read)
    if read and not chosen:
        raise UserError(f"dataset {item.name} is not read from files of its repository")
    size = builder.info.dataset_size or ROWS_PER_BYTE * sum(file.bytes for file in chosen)
    rows = 0 if _is_prepared(builder) else int(size)
    return Listing(item, everything.commit, chosen, rows), builder


def prepare_rows(item: Item, builder: Any) -> None:
    """Write a dataset's rows where jobs look for them. Raises UserError."""
    with explain("dataset", item.name):
        builder.download_and_prepare()


def rows_folder() -> str:
    """Return the cache of `datasets`."""
    from datasets import config

    return str(config.HF_DATASETS_CACHE)


def _path_of(url: str) -> str:
    """Return the path within its repository of `hf://datasets/owner/name@commit/path`."""
    return url.partition("@")[2].partition("/")[2]


def _is_prepared(builder: Any) -> bool:
    from pathlib import Path

    folder = Path(builder.cache_dir)
    return (folder / "dataset_info.json").is_file() and any(folder.glob("*.arrow"))
