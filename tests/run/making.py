"""Records for the tests, with what a test does not speak about filled in."""

from pathlib import Path
from typing import Any

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, write_record


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "name": "tiny-1",
        "created": 1000.0,
        "user": "ada",
        "host": "login1",
        "command": ["hpclaunch", "sbatch"],
        "mode": "sbatch",
        "hpclaunch": "0.1.0",
        "recipe": "tiny",
        "site": "generic",
        "nodes": 2,
        "processes_per_node": 4,
        "device": "gpu",
    }
    return Record(**(values | changes))


def run_in(root: Path, **changes: Any) -> RunFolder:
    """Make a run folder with a record, named after the folder unless said otherwise."""
    root.mkdir(parents=True)
    folder = RunFolder(root)
    write_record(folder, record(**({"name": root.name} | changes)))
    return folder
