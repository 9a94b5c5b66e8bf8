"""What a program that ended without an exception said last: argparse's and `sys.exit`'s words."""

from __future__ import annotations

import re

NEAR = 6
"""Lines with words at the end of an output among which the reason may stand."""

_ARGUMENTS = re.compile(r"^(?!srun|sbatch|slurmstepd|salloc)([\w./<>\[\] -]+: error: .+)$")
_NOISE = re.compile(
    r"^\s*(?:wandb: |\[?[WIE]\d{3,4} |\[rank\d+\]:\[[WIE]|WARNING|INFO|DEBUG|warnings?\.warn"
    r"|frame #|\{.*\}$|\[?\d{4}-\d\d-\d\d(?!.*\b(?:ERROR|CRITICAL|FATAL)\b)"
    r"|usage: |Set the environment variable \w+=|\*{5,}|Setting OMP_NUM_THREADS)"
    r"|Warning\b|it/s\]|s/it\]|\d+%\||\bNCCL INFO\b|examples/s\]|[BKMG]B/s\]|\bloss\b|\bINFO\b"
    r"|^\W*(?:\w+\W+){0,2}step\W{1,3}\d"
)
_MARKED = re.compile(r"^(?:ERROR|FATAL|[Ee]rror|[Ff]atal): \w")
"""How a program marks the line that says why it ends, before its usage."""
_WORD = re.compile(r"[A-Za-z]{2}")
_INDENTED = re.compile(r"^(?:\s{2,}|\t)")


def argument_error(lines: list[str]) -> str:
    """Return what argparse says of a program's arguments; '' where it says nothing."""
    for line in reversed(lines[-NEAR:]):
        match = _ARGUMENTS.match(line.strip())
        if match:
            return match[1]
    return ""


def last_words(lines: list[str]) -> str:
    """Return the last line that is no progress, warning or log line; '' where there is none."""
    spoken = without_noise([line for line in lines if line.strip()][-NEAR:])
    marked = [line for line in spoken if _MARKED.match(line)]
    return (marked or spoken)[-1].strip() if spoken else ""


def without_noise(lines: list[str]) -> list[str]:
    """Return the lines that may say why a program ended."""
    return [
        line
        for line in lines
        if not _NOISE.search(line) and not _INDENTED.match(line) and _WORD.search(line)
    ]
