"""The lines above the nodes: the run, its training, and problems."""

from __future__ import annotations

import textwrap
import time

from rich.text import Text

from hpclaunch.units import count, duration
from hpclaunch.watch.figures import add_up, age, gib, percent, watts
from hpclaunch.watch.frame import Frame
from hpclaunch.watch.sparkline import Glyphs, bar, curve
from hpclaunch.watch.styles import BAD, QUIET, STRONG, WARN, clean

_STATES = {"running": "bold green", "failed": BAD, "timed out": BAD, "cancelled": BAD,
           "queued": "bold yellow", "unknown": "bold yellow"}  # fmt: skip
LABEL_WIDTH = 12
_MOST_TROUBLE = 4
_MOST_FOLDED = 3
_BAR = 20
_CURVE = 40
_HOSTS = 24
"""Characters up to which a list of nodes is shown: their names stand below."""


def head(frame: Frame, width: int, glyphs: Glyphs) -> list[Text]:
    """Return the lines; the screen cuts those that are too long."""
    lines = [_run(frame, width), *_hang(frame, width), *_training(frame, width, glyphs)]
    found = add_up(frame.nodes)
    if found.gpus and len(frame.nodes) > 1:
        low = found.lowest
        text = f"{found.gpus} on {found.nodes} nodes: {percent(found.sm_pct).strip()} busy"
        text += f", lowest {low[0]:.0f}% ({low[1].node} GPU {low[1].index})" if low else ""
        text += f"; {watts(found.power_w)}; {gib(found.used_mib)}/{gib(found.total_mib)} GiB"
        lines.append(_labelled("GPUs", text))
    if frame.server:
        text = f"{frame.server} writes the completions, and trains nothing"
        lines.append(_labelled("server", text))
    if frame.why:
        lines += _folded("why", frame.why, width, BAD if frame.ended else WARN)
    shown = frame.trouble[:_MOST_TROUBLE]
    lines += [_labelled("problem" if at == 0 else "", text, BAD) for at, text in enumerate(shown)]
    if len(frame.trouble) > len(shown):
        lines.append(_labelled("", f"{glyphs.more} {len(frame.trouble) - len(shown)} more"))
    return lines


def _run(frame: Frame, width: int) -> Text:
    line = _labelled("run", frame.name, STRONG).append(", ")
    line.append(frame.state, style=_STATES.get(frame.state, STRONG))
    if frame.state == "running" and frame.started is not None:
        line.append(f" for {age(frame.at - frame.started)}")
    if frame.reason and not frame.why:
        line.append(f" ({clean(frame.reason)})")
    if frame.job_id:
        line.append(f", job {frame.job_id}")
    if frame.hosts and frame.active:
        short = len(frame.hosts) <= _HOSTS or not frame.nodes
        line.append(f" on {clean(frame.hosts) if short else f'{len(frame.nodes)} nodes'}")
    line.append(f", {clean(frame.time_left)} left" if frame.time_left else "")
    clock = time.strftime("%H:%M:%S", time.localtime(frame.at))
    line.truncate(max(0, width - len(clock) - 1), overflow="ellipsis", pad=True)
    return line.append(f" {clock}", style=QUIET)


def _hang(frame: Frame, width: int) -> list[Text]:
    """Return why the ranks may hang, and which of them do what."""
    now = frame.activity
    if now is None or not now.hang:
        return []
    lines = _folded("hang", now.hang, width, BAD)
    return lines + [line for each in now.ranks for line in _folded("", each, width, BAD)]


def _training(frame: Frame, width: int, glyphs: Glyphs) -> list[Text]:
    progress, lines = frame.progress, []
    if frame.phase and not frame.hang:
        lines.append(_labelled("phase", frame.phase))
    if progress.step is not None:
        line = _labelled("step", f"{count(progress.step)} of {count(progress.total)}  ")
        if progress.total:
            share = progress.step / progress.total
            line.append(bar(share, _BAR, glyphs), style="cyan")
            # Rounded down: 100% is shown at the end only.
            line.append(f" {min(100, int(100 * share))}%")
        if frame.state == "running":
            line.append(f", {duration(frame.seconds_left)} left")
        if frame.activity is not None and frame.activity.step_age_s is not None:
            line.append(f", {age(frame.activity.step_age_s)} ago")
        throughput = f"{count(progress.tokens_per_second)} tokens/s in all"
        step_time = f"{duration(progress.seconds_per_step)}, {throughput}"
        lines += [line, _labelled("step time", step_time)]
    if progress.loss is not None:
        line = _labelled("loss", f"{progress.loss:.4f}")
        line.append(f", first {progress.first_loss:.4f}" if progress.first_loss is not None else "")
        room = min(_CURVE, width - line.cell_len - 2)
        line.append(f"  {curve(frame.losses, room, glyphs)}", style="cyan")
        lines.append(line)
    if progress.metrics:
        lines.append(_labelled("answers", progress.metrics))
    saved = _saved(frame)
    if saved:
        lines.append(_labelled("checkpoint", saved))
    return lines


def _saved(frame: Frame) -> str:
    progress, parts = frame.progress, []
    if progress.checkpoint is not None:
        when = "" if frame.ended else f", {age(frame.checkpoint_age_s)} ago"
        parts.append(f"step {count(progress.checkpoint)}{when}")
    elif progress.step is not None:
        parts.append("none yet" if not frame.ended else "none")
    if progress.sync_error:
        parts.append(f"not uploaded: {progress.sync_error}")
    if progress.restarts:
        parts.append(f"{progress.restarts} restart{'s' if progress.restarts > 1 else ''}")
    if frame.before:
        parts.append(f"the last attempt ended: {frame.before}")
    if frame.left_out:
        parts.append(f"excluded: {', '.join(frame.left_out)} (failed twice)")
    return "; ".join(parts)


def _folded(label: str, text: str, width: int, style: str) -> list[Text]:
    """Return a text in as many lines as it takes, at most three."""
    room = max(20, width - LABEL_WIDTH)
    lines = textwrap.wrap(clean(text), room, max_lines=_MOST_FOLDED, placeholder=" ...") or [""]
    return [_labelled(label if at == 0 else "", line, style) for at, line in enumerate(lines)]


def _labelled(label: str, text: str, style: str = "") -> Text:
    return Text(f"{label:<{LABEL_WIDTH}}", style=QUIET).append(
        clean(text), style=f"not dim {style}".strip()
    )
