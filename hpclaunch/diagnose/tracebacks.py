"""Finds the exception that a program's output ends with: the one that nothing caught."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpclaunch.diagnose.error_message import with_lines_below
from hpclaunch.frozen import frozen

HEADER = "Traceback (most recent call last)"
MESSAGE_LINES = 40
"""Lines after an exception's first that may be of its message."""

_RANK = re.compile(r"^(?:\d{4}-\d\d-\d\dT[\d:]+(?:\.\d+)?Z )?(?:\[rank\d+\]: ?)?")
_GROUP = re.compile(r"^ +(?:\| ?|\+ (?=Exception Group ))")
"""What Python puts in front of the lines of an exception group."""
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?:\[[\w., ]*\])?(?:\([\w.]*\))?(?::.*)?$")
"""The line that a traceback ends with: a dotted name, with a message or without."""
_NAMED = re.compile(
    r"^((?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt|Exit|TimeoutExpired|KeyError)\b(?::.*|$))"
)
"""An exception whose traceback is not there: its name says what it is."""
_CHAINED = ("During handling of the above exception", "was the direct cause of the following")
_IGNORED = re.compile(
    r"^Exception ignored |^Error in atexit|^Error in sys\.|^--- Logging error|never retrieved"
    r"|^Exception in callback"
)
"""What Python says before a traceback that ends nothing."""
_WEAK = re.compile(
    r"^Exception in thread|^(?:ERROR|CRITICAL)\b|^[\[\d].*\b(?:ERROR|CRITICAL)\b"
    r"|^(?:WARNING\b|[\[\d].*\bWARNING\b).*(?:[Ee]rror|[Ff]ail|[Ee]xception|[Uu]nable|[Tt]raceback"
    r"|[Cc](?:ould not|ouldn't|annot)|:\s*$)"
)
"""Before the traceback of another thread, or of one that was logged: a warning of something else
has none."""
_FRAME = re.compile(r'^ +File "([^"]+)", line \d+, in (.+)$')
_NOT_OWN = re.compile(
    r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|/hpclaunch/|^<frozen|^<string"
)
"""Files that are no part of the user's program."""
_SPAWNED = re.compile(r"/multiprocess(?:ing)?/(?:spawn|forkserver)\.py")
"""Where a process that is started reads from its parent what to do."""
_MAIN = {"<module>", "_run_module_as_main"}
_RAISES = re.compile(r"raise\b|assert\b")
_QUOTING = re.compile(r"KeyError: |ValueError: (?:invalid literal for|could not convert string)")
"""What Python raises with nothing but the program's own values in the message."""
_OF_SYSTEM = re.compile(
    r"(?:^|\.)(?:(?:OS|IO|FileNotFound|FileExists|Permission|NotADirectory|IsADirectory|BrokenPipe"
    r"|Connection\w*|Timeout|Import|ModuleNotFound|\w*Memory|Environment|EOF|Unicode\w*|\w*HTTP\w*"
    r"|User|CalledProcess)Error|\w*(?:Interrupt|Exit|Timeout))$"
)
"""Classes that tell of the system by themselves, whoever raises them."""
_EXPECTED = re.compile(
    r"(?:\w+\.)*(?:FileNotFound|Key|Index|Attribute|Import|ModuleNotFound|LocalEntryNotFound|EOF"
    r"|Value|JSONDecode|Type)Error\b"
)
"""What programs catch to do something else instead; not what ends them whatever they do."""
_FAULTY = re.compile(
    r"(?:ZeroDivision|Overflow|FloatingPoint|Arithmetic|Assertion|Recursion|Name|UnboundLocal)Error\b"
)
"""What no program expects: it stands for itself, whatever its handler then fails in."""
_CLEANING = re.compile(
    r"close|clean|finish|destroy|shut_?down|stop|join|exit|teardown|finali[sz]e|log"
)
"""Functions that are called on the way out, too."""
_AT_EXIT = {"_run_finalizers", "_exit_function", "_exitfunc", "_shutdown", "_python_exit"}
"""Functions of Python's own that call what is left to do as a process ends, and go on after it."""
_LAUNCHERS = ("SignalException", "ChildFailedError")
_LAUNCHED = re.compile(r"Command '\[?'?\S*/python[\d.]*'?,? .*returned non-zero exit status")
"""How accelerate ends whose program, a Python one, has failed."""
_AFTER = re.compile(
    r"^(?:\[?[WEIF]\d{3,4} |\[rank\d+\]:\[[WEIF]|wandb: |Exception ignored |terminate called"
    r"|frame #\d|srun: |slurmstepd|\{'|\s*\d+%\|)"
)
"""What comes after a message, and is no part of it."""


@frozen
class Traceback:
    """A traceback with those that it came of; places are indexes of lines."""

    begin: int
    at: int
    """Of the line that names the exception."""
    stop: int
    """After the last line of the message."""
    error: str
    weak: bool = False
    """It was logged, or another thread's: the program may have gone on."""
    own: bool = False
    """The program raised it by a line of its own: its message is the program's, and may quote any
    error."""
    of_main: bool = False
    """It begins where the main program does: what is printed of a caught one begins below."""


def unranked(line: str) -> str:
    """Return a line without the rank that torch puts in front of it."""
    return _GROUP.sub("", _RANK.sub("", line)).rstrip("\r\n")


def exception_in(line: str) -> str | None:
    """Return the exception that a line names by itself, the launcher's own left out."""
    match = _NAMED.match(unranked(line))
    return match[1].strip() if match and not _of_launcher(match[1]) else None


def ending(lines: list[str], most: int) -> Traceback | None:
    """Return the exception that an output ended with; None where it shows none.

    `most`: a line without a traceback that names one counts within so many lines of the end.
    """
    plain = [unranked(line) for line in lines]
    found = list(_tracebacks(plain))
    uncaught = [traceback for traceback in found if not traceback.weak]
    if uncaught and found[-1].of_main and not uncaught[-1].of_main:
        return found[-1]  # what was printed before it had been caught below the program's start
    if uncaught or found:
        return (uncaught or found)[-1]
    for at in range(len(plain) - 1, max(-1, len(plain) - 1 - most), -1):
        error = exception_in(plain[at])
        if error:
            return Traceback(at, at, _message_end(plain, at), with_lines_below(plain, at, error))
    return None


def _tracebacks(plain: list[str]) -> Iterator[Traceback]:
    """Yield those that ended something, in the order of the lines."""
    begin: int | None = None
    headers = [at for at, line in enumerate(plain) if _is_header(line)]
    stops = [*headers[1:], len(plain)][: len(headers)]
    for header, stop in zip(headers, stops, strict=True):
        before = _before(plain, header)
        chained = any(text in before for text in _CHAINED)
        at = _error_line(plain, header, stop)
        handled = at is not None and _CHAINED[0] in before
        if begin is not None and handled and _follows(plain, begin, header, at or 0):
            continue
        if begin is None or not chained or (handled and _replaced(plain, begin, header, at or 0)):
            begin = header
        if at is None:
            continue
        if _IGNORED.search(before) or _of_launcher(plain[at]):
            begin = None
            continue
        end = _message_end(plain, at)
        of_main = any(name in _MAIN for _, name, _ in _frames(plain, header, at)[:1])
        at, error = _of_another_rank(plain, at, end)
        first = _before(plain, begin)
        own = at < end and _is_own(plain, header, at)
        error = with_lines_below(plain, at, error)
        orphan = _is_orphan(plain, header, at)
        weak = _is_weak(first) or orphan or _at_exit(plain, header, at)
        yield Traceback(begin, at, end, error, weak, own, of_main and not orphan)


def without_own_message(text: str) -> str:
    """Return an output without the message of an exception that the program raised itself."""
    lines = text.split("\n")
    found = ending(lines, 0)
    if found is None or not found.own:
        return text
    return "\n".join([*lines[: found.at], *lines[found.stop :]])


def _frames(plain: list[str], header: int, at: int) -> list[tuple[str, str, str]]:
    """Return file, function and code of the frames between two lines, the innermost last."""
    found = []
    for place in range(header + 1, at):
        match = _FRAME.match(plain[place])
        if match:
            below = plain[place + 1] if place + 1 < at else ""
            code = "" if _FRAME.match(below) else below.strip()
            found.append((match[1], match[2], code))
    return found


def _is_own(plain: list[str], header: int, at: int) -> bool:
    """Return whether a line of the program itself raised an exception that is no system's."""
    frames = _frames(plain, header, at)
    if not frames or _OF_SYSTEM.search(plain[at].partition(":")[0].strip()):
        return False
    file, _, code = frames[-1]
    by_program = _RAISES.match(code) is not None or _QUOTING.match(plain[at]) is not None
    return not _NOT_OWN.search(file) and by_program


def _replaced(plain: list[str], begin: int, header: int, at: int) -> bool:
    """Return whether the program handled an exception, and failed in what it did instead.

    A handler that raises anew stands in the function that tried: there the first one is the reason.
    """
    frames = _frames(plain, header, at)
    tried = _frames(plain, begin, header)
    if not frames or not tried or _NOT_OWN.search(frames[-1][0]):
        return False
    first = next((line for line in plain[begin:header] if _EXPECTED.match(line)), "")
    if not first or any(_CLEANING.search(name) for _, name, _ in frames):
        return False
    return frames[-1][:2] not in {frame[:2] for frame in tried}


def _is_orphan(plain: list[str], header: int, at: int) -> bool:
    """Return whether a process that was started heard nothing from its parent: that one failed."""
    return plain[at].startswith("EOFError") and any(
        _SPAWNED.search(file) for file, _, _ in _frames(plain, header, at)
    )


def _at_exit(plain: list[str], header: int, at: int) -> bool:
    """Return whether it was met in what Python itself does as a process ends."""
    return any(
        name in _AT_EXIT and _NOT_OWN.search(file)
        for file, name, _ in _frames(plain, header, at)[:1]
    )


def _follows(plain: list[str], begin: int, header: int, at: int) -> bool:
    """Return whether an exception came of what a handler called after a fault of the program.

    A handler that raises anew stands in the function that tried.
    """
    tried, frames = _frames(plain, begin, header), _frames(plain, header, at)
    error = _error_line(plain, begin, header)
    if error is None or not _FAULTY.match(plain[error]) or not tried or not frames:
        return False
    own = not _NOT_OWN.search(tried[-1][0])
    return own and frames[-1][:2] not in {frame[:2] for frame in tried}


def _is_header(line: str) -> bool:
    text = line.rstrip()
    if text.endswith(f"{HEADER}:"):
        return text[: -len(HEADER) - 1].strip().count(" ") < 30
    return HEADER in text and "─" in text


def _before(plain: list[str], header: int) -> str:
    """Return the last line with words before a traceback, of the last three."""
    lines = (plain[at] for at in range(header - 1, max(-1, header - 4), -1))
    return next((line for line in lines if line.strip()), "")


def _is_weak(before: str) -> bool:
    return bool(_WEAK.search(before[:200])) and not before.startswith("ERROR: Unexpected bus")


def _error_line(plain: list[str], header: int, stop: int) -> int | None:
    """Return the place of the first line after the frames; None where the output ends before."""
    framed = False
    for at in range(header + 1, stop):
        line = plain[at]
        if line[:1] in {" ", "\t", "│", "╰", "╭"} or not line:
            framed = True
            continue
        if framed and _ERROR.match(line):
            return at
        if not framed or line == '"""':
            return None
        if _NAMED.match(line):
            return at
    return None


def _message_end(plain: list[str], at: int) -> int:
    """Return the place after the last line of an exception's message."""
    stop = min(len(plain), at + MESSAGE_LINES)
    for place in range(at + 1, stop):
        line = plain[place]
        if _AFTER.match(line) or _is_header(line) or any(text in line for text in _CHAINED):
            return place
    return stop


def _of_another_rank(plain: list[str], at: int, end: int) -> tuple[int, str]:
    """Return place and error; of a checkpoint the one of the rank that could not write it."""
    nested = [place for place in range(at, end) if f"{HEADER}: (RANK" in plain[place]]
    if nested:
        for place in range(nested[0] + 1, end):
            error = exception_in(plain[place])
            if error:
                return place, error
    return at, plain[at].strip()


def _of_launcher(error: str) -> bool:
    name = error.partition(":")[0]
    return any(each in name for each in _LAUNCHERS) or (
        name.endswith("CalledProcessError") and _LAUNCHED.search(error) is not None
    )
