"""Print the screen of `watch` that the documentation shows: two nodes of four made-up GPUs.

python -m tests.watch.picture
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from tests.cli.running import Home
from tests.watch.alive import Alive
from tests.watch.terminal import Terminal

COLUMNS, LINES = 92, 18
STEP_SECONDS = 1.5


def spread(events: Path) -> None:
    """Give the events, which were all logged at once, the times that a real run has."""
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    began = time.time() - STEP_SECONDS * len(lines)
    for number, line in enumerate(lines):
        line["time"] = round(began + STEP_SECONDS * number, 3)
    events.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def main() -> None:
    """Make the run, open the screen and print it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        run = Alive(home.runs / "llama3-8b-lora-1")
        run.train(65, total=5000)
        spread(run.folder.events)
        run.begin(seconds=180)
        terminal = Terminal(home.argv("watch"), home.environment, home.folder, COLUMNS, LINES)
        try:
            terminal.until("GPU")
            print("\n".join(line.rstrip() for line in terminal.lines))
        finally:
            terminal.close()


if __name__ == "__main__":
    main()
