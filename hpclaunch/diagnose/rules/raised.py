"""What an exception that no other rule knows says by itself: its own advice, who raised it, where.

Libraries name the setting that is at fault in their messages; the message is quoted, and nothing
is guessed beside it.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.packages import package_of
from hpclaunch.diagnose.rank_failure import RankFailure
from hpclaunch.diagnose.tracebacks import unranked

SAYS = "its message says: "
MESSAGE = 6
"""Lines of an error's message that are looked into, the first included."""
NEAR = 4
"""Lines before a traceback in which a library below Python says why it will fail."""
_REPORTED = re.compile(r"\b(?:UCX|MPI|PMIX|OFI|GDRCOPY)\b.*\b(?:ERROR|FATAL)\b|^MIOpen Error: ")
MOST_NAMES = 4
"""Most settings of a message that are named."""
_FIX = re.compile(
    r"(?:[Pp]lease|Set|Use|Try|Consider|Install|Run|Reduc\w+|Decrease|Increase|Make sure|Either"
    r"|To fix|The (?:easiest|simplest|best) \w+ (?:is|would be)"
    r"|You (?:can|may|should|must|need to)|Perhaps you|Did you mean) \W?\w.{8,}"
)
_NO_FIX = re.compile(
    r"[Pp]lease (?:see|refer|file|report|open an?|submit|raise an?|contact|check out|note)\b"
    r"|(?:Set|Try|Use) .*(?:TORCH_LOGS|TORCHDYNAMO_VERBOSE|CUDA_LAUNCH_BLOCKING)"
)
_WEAK_FIX = re.compile(r"You (?:can|may) ")
_SENTENCE = re.compile(r"(?<=[.!:;,])\s+(?=[A-Zp])")
_FRAME = re.compile(r'File "([^"\n]+)", line (\d+), in ')
_NOT_OWN = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|/hpclaunch/|^<|/bin/")
_NAME = re.compile(
    r"[`'\"]-{0,2}([a-z]\w*_\w+)(?:=[^`'\"]*)?[`'\"]"
    r"|--([a-z]\w*[_-]\w[\w-]*)"
    r"|(?<![\w/.\-`'\"<])([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?![\w/(.])"
)
"""A setting as messages write it: quoted, as an option, or by its underscores."""
_NO_SETTINGS = {"input_ids", "attention_mask", "position_ids", "state_dict", "grad_fn"}
"""What names no setting, though it looks like one."""


def steps(rank: RankFailure) -> list[str]:
    """Return what its message advises, and who raised it, called from where; [] where neither."""
    found = []
    advised = own_fix(_message(rank))
    if advised:
        found.append(f"{SAYS}{advised}")
    before = _just_before(rank)
    if before and not advised:
        found.append(f"just before it: {before}")
    place = _place(rank)
    if place:
        found.append(place)
    return found


def _just_before(rank: RankFailure) -> str:
    """Return the last error that compiled code printed right before the traceback; '' if none."""
    lines = rank.context.decode("utf-8", errors="replace").split("\n")[-NEAR:]
    errors = (tidy(line) for line in reversed(lines) if _REPORTED.search(line))
    return next(errors, "")[:300]


def own_fix(lines: list[str]) -> str:
    """Return the line, or sentence, of an error's message that says what to do; '' without one."""
    below = [line for line in lines[1:] if _FIX.match(line)]
    below = below or [each for line in lines for each in _SENTENCE.split(line)[1:]
                      if _FIX.match(each)]  # fmt: skip
    advised = [line for line in below if not _NO_FIX.match(line)]
    strong = (line for line in advised if not _WEAK_FIX.match(line))
    return next(strong, "".join(advised[:1]))


def _message(rank: RankFailure) -> list[str]:
    """Return the lines of an error's message, the line that names the exception first."""
    lines = rank.text.decode("utf-8", errors="replace").split("\n")
    at = len(lines) - 1 if rank.error_at is None else rank.error_at
    return [rank.error, *(tidy(unranked(line)) for line in lines[at + 1 : at + MESSAGE])]


def _place(rank: RankFailure) -> str:
    """Return which package raised an error, on which line of the program, and what it names."""
    frames = _FRAME.findall(rank.text.decode("utf-8", errors="replace"))
    package = package_of(frames[-1][0]) if frames else ""
    if not package:
        return ""
    file, line, *_ = frames[-1]
    message = f"{package} raised it ({PurePath(file).name}:{line})"
    own = [frame for frame in frames if not _NOT_OWN.search(frame[0])]
    if own:
        file, line, *_ = own[-1]
        message += f", called by {PurePath(file).name}:{line}"
    names = _settings(" ".join(_message(rank)))
    return tidy(message + (f"; its message names {', '.join(names)}" if names else ""))


def _settings(text: str) -> list[str]:
    names = (group for match in _NAME.finditer(text) for group in match.groups() if group)
    kept = [name for name in dict.fromkeys(names) if name not in _NO_SETTINGS]
    return kept[:MOST_NAMES]
