"""`hpclaunch watch`: a run live, all nodes and GPUs on one screen."""

from __future__ import annotations

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import say, waiting_message
from hpclaunch.errors import UserError

LEAST_S, MOST_S = 0.2, 3600.0


@click.command(
    cls=Command,
    examples=[
        ("The newest run, on the whole screen", "hpclaunch watch"),
        ("A line every 30 seconds, into a file", "hpclaunch watch --interval 30 > watch.log"),
        ("For Prometheus", "hpclaunch watch my-run --serve 9400"),
    ],
)
@options.run
@click.option("--interval", type=float, default=1.0, help="Seconds per refresh; by default 1.")
@click.option("--once", is_flag=True, help="Print the newest values, and exit.")
@options.as_json
@click.option(
    "--serve",
    metavar="[ADDRESS:]PORT",
    help="Serve OpenMetrics at /metrics instead; without an address on 127.0.0.1 only.",
)
def watch(
    run: str | None, interval: float, once: bool, as_json: bool, serve: str | None
) -> int | None:
    """Watch a run live: training, nodes and GPUs on one screen.

    q or Ctrl-C quits and leaves the job alone; ? lists the keys. It ends when the run ends. In a
    pipe it prints one line per refresh, with --json one object.

    Exits with 1 where the run failed or was cancelled, else with 0.
    """
    from hpclaunch.run.find import find

    if not LEAST_S <= interval <= MOST_S:
        raise UserError(f"--interval {interval}: {LEAST_S} to {MOST_S:.0f} seconds")
    if serve is not None and (once or as_json):
        raise UserError("--serve excludes --once and --json", "leave them out")
    folder, record = find(run)
    if serve is not None:
        from hpclaunch.watch.serve import parse_address, serve_run

        return serve_run(folder, record, parse_address(serve), say)

    from rich.console import Console

    from hpclaunch.watch import show
    from hpclaunch.watch.state import FAILED
    from hpclaunch.watch.watcher import Watcher

    watcher, console = Watcher(folder, record), Console(highlight=False)
    if once:
        with waiting_message():
            frame = show.once(watcher, as_json, console)
    elif as_json or not show.can_draw(console):
        frame = show.in_lines(watcher, interval, as_json)
    else:
        frame = show.on_screen(watcher, interval, console)
        if not frame.ended:
            say(f"no longer watching {frame.name}; the job goes on")
            return 0
        command = "why" if frame.state in FAILED else "report"
        say(f"{frame.state}; see: hpclaunch {command} {frame.name}")
    return 1 if frame.state in FAILED else 0
