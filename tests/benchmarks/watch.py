"""What `hpclaunch watch` costs the login node, over a big run that goes on meanwhile.

    python -m tests.benchmarks.watch [NODES] [GPUS] [HOURS]

Writes samples and events of so many hours, appends a second's worth of every node at each refresh,
and counts the CPU time of reading and drawing alone. Ends with 1 where one refresh a second would
take more than a tenth of a core. One hour of 64x8 is some 0.3 GB on disk.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console, Group

from hpclaunch.run.find import find
from hpclaunch.watch import screen
from hpclaunch.watch.sparkline import UNICODE
from hpclaunch.watch.view import View
from hpclaunch.watch.watcher import Watcher
from tests.watch.alive import Alive

REFRESHES = 20
SHARE = 0.1
SIZES = ((80, 24), (200, 50))


def big_run(root: Path, nodes: int, gpus: int, hours: float) -> Alive:
    """Make a run that has gone on for long: a minute over and over, then the newest one."""
    run = Alive(root, nodes, gpus)
    run.begin(seconds=60)
    for path in run.folder.metrics.iterdir():
        first, *ticks = path.read_text().splitlines(keepends=True)
        with path.open("w") as stream:
            stream.write(first)
            for _ in range(int(hours * 60)):
                stream.writelines(ticks)
    step = {"time": 1.0, "event": "step", "step": 1, "total": 10**6, "seconds": 1.0, "tokens": 9000}
    with run.folder.events.open("w") as stream:
        for _ in range(int(hours * 3600)):
            stream.write(json.dumps(step | {"loss": 1.234, "learning_rate": 1e-4}) + "\n")
    run.begin(seconds=60)
    return run


def main() -> int:
    """Measure and print; returns the exit code."""
    words = sys.argv[1:]
    nodes, gpus = (int(word) for word in (words[:2] + ["64", "8"][len(words[:2]) :]))
    hours = float(words[2]) if len(words) > 2 else 1.0
    with tempfile.TemporaryDirectory() as place:
        run = big_run(Path(place) / "big", nodes, gpus, hours)
        watcher = Watcher(*find(str(run.root)))
        began = time.process_time()
        watcher.refresh(None)
        print(f"{nodes} nodes x {gpus} GPUs, {hours:g} h before")
        print(f"first refresh          {time.process_time() - began:7.2f} s of CPU")
        reading, drawing = 0.0, dict.fromkeys(SIZES, 0.0)
        for _ in range(REFRESHES):
            run.tick()
            run.train(1, 10**6)
            began = time.process_time()
            frame = watcher.refresh()
            reading += time.process_time() - began
            for columns, lines in SIZES:
                console = Console(
                    force_terminal=True, width=columns, height=lines, file=io.StringIO()
                )
                console.set_alt_screen(True)
                began = time.process_time()
                shown, _ = screen.page(frame, columns, lines, UNICODE, View())
                options = console.options.update(width=columns, height=lines)
                console.update_screen(Group(*shown), options=options)
                drawing[columns, lines] += time.process_time() - began
    print(f"one refresh           {1000 * reading / REFRESHES:7.1f} ms")
    for (columns, lines), seconds in drawing.items():
        print(f"drawing {columns:>4} x {lines:<8}{1000 * seconds / REFRESHES:7.1f} ms")
    worst = (reading + max(drawing.values())) / REFRESHES
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"once a second: {worst:.1%} of a core, wanted: at most {SHARE:.0%}; {rss:.0f} MiB")
    return 0 if worst <= SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
