"""Print the screen of `watch` that the documentation shows: two nodes of four made-up GPUs.

python -m tests.watch.picture
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.cli.running import Home
from tests.watch.alive import Alive
from tests.watch.terminal import Terminal

COLUMNS, LINES = 92, 18


def main() -> None:
    """Make the run, open the screen and print it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        run = Alive(home.runs / "llama3-8b-lora-1")
        run.train(65, total=5000)
        run.begin(seconds=180)
        terminal = Terminal(home.argv("watch"), home.environment, home.folder, COLUMNS, LINES)
        try:
            terminal.until("GPU")
            print("\n".join(line.rstrip() for line in terminal.lines))
        finally:
            terminal.close()


if __name__ == "__main__":
    main()
