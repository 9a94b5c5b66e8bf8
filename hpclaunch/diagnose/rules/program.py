"""What is left when nothing more precise fits: the program's own error, a signal, or nothing."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import PurePath

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.last_words import argument_error, without_noise
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.packages import package_of
from hpclaunch.diagnose.rank_failure import RankFailure
from hpclaunch.diagnose.rules import advice, raised, script
from hpclaunch.diagnose.run_evidence import RunEvidence

FRAMES = 8
"""Lines of a traceback that are shown."""
LAST = 4
"""Last lines of a rank's output that are shown."""
MESSAGE = 6
"""Lines of an error's message that are shown, the first included."""
ARGPARSE = 2
"""Exit code of a program that argparse ends."""
_REWARD = re.compile(r"reward function failed: (\S+?)(?::\d+)?(?:$|[ :])")
"""How the trainer names an error of a reward function (hpclaunch/train/rewards.py)."""
_RAISED = re.compile(r'File "([^"\n]+)", line (\d+), in [^\n]+\n(?:\[rank\d+\]:)? {3,}(\S[^\n]*)')
_OF_CODECS = re.compile(r"/encodings/|/codecs\.py$")
_ENCODING = re.compile(r"ascii|latin|encod|decod", re.IGNORECASE)
_OF_NCCL = re.compile(r"NCCL error in: ")
_WARNED = re.compile(rb"NCCL WARN ([^\n]+)")
_CURRENT = re.compile(r"(?:Current thread|^Stack) .*\(most recent call first\):", re.MULTILINE)
_TELLING = re.compile(r"(?:[\w./-]+: )?(?:fatal|[Ee]rror|FATAL|ERROR)\b:? \S")
"""How another program marks the line that says why it ends."""
_ABORTED = (
    re.compile(r"^ *what\(\): +(\S.*)", re.MULTILINE),
    re.compile(r"^((?:free|malloc|realloc|munmap_chunk)\(\): .*|double free or .*|corrupted .*"
               r"|\*\*\* .* \*\*\*.*|\S+: .*Assertion .* failed.*|.*\bRust panic\b.*"
               r"|OMP: Error #.*|:\d:\w+\.cpp +:.*|LLVM ERROR: .*)", re.MULTILINE),
    re.compile(r"^(terminate called .*|Fatal Python error: (?!Aborted).*)", re.MULTILINE),
)  # fmt: skip
"""What compiled code prints as it gives up, the most telling first."""
_FAULT_FRAME = re.compile(r'File "([^"]+)", line \d+ in (\S+)')


def arguments(evidence: RunEvidence) -> Cause | None:
    """The program did not take its arguments."""
    rank = evidence.culprit
    if rank is None:
        error = argument_error(script.own_end(evidence))
        steps = (advice.logs(evidence), advice.resume(evidence))
        return Cause(error, steps, evidence.log.last) if error else None
    if rank is None or rank.is_collateral:
        return None
    of_argparse = rank.code == ARGPARSE and ": error: " in rank.error
    if not of_argparse and "not used by the HfArgumentParser" not in rank.error:
        return None
    words = " ".join(evidence.record.program)
    steps = (f"see what it takes, and what it was given: {words}", advice.resume(evidence))
    shown = tuple(Clue(text, rank.file) for text in _last_lines(rank)[-LAST:])
    return Cause(rank.error, steps, shown or (rank.clue(),), rank.rank, rank.host)


def ascii_text(evidence: RunEvidence) -> Cause | None:
    """Python reads or writes text as ASCII, as the job's locale says."""
    line = evidence.root_cause_line("ascii")
    if line is None:
        return None
    frames = _RAISED.findall(evidence.last_words)
    codes = [code for file, _, code in frames if not _OF_CODECS.search(file)]
    if codes and _ENCODING.search(codes[-1]):
        return None  # the program names the encoding itself
    if "latin-1" in line.text and not (codes and re.match(r"print\(|\w+\.write\(", codes[-1])):
        return None  # a header of a request, most often
    steps = (
        "PYTHONUTF8=1 in the job, or LC_ALL=C.UTF-8: compute nodes may have another locale than "
        "the login node",
        "or name the encoding in the program: open(..., encoding='utf-8')",
    )
    headline = f"Python does not take the job's text as UTF-8: {line.text}"
    return advice.cause(evidence, line, headline, *steps)


def reward_function(evidence: RunEvidence) -> Cause | None:
    """A reward function of the user's raised an exception, or returned what is no reward."""
    rank = evidence.culprit
    found = None if rank is None else _REWARD.search(rank.error)
    if rank is None or found is None:
        return None
    steps = (
        f"correct {found[1]}; the run takes the file as it is when you resume",
        advice.resume(evidence),
    )
    shown = traceback(rank) if rank.text else (rank.clue(),)
    headline = rank.error[found.start() :]
    return Cause(headline, steps, shown, rank.rank, rank.host)


def exception(evidence: RunEvidence) -> Cause | None:
    """The program raised an exception, or left an exit code of its own."""
    rank = evidence.culprit
    if rank is None or rank.silent or rank.is_collateral:
        return None
    headline = _with_code(rank)
    if _OF_NCCL.search(rank.error) and "Last error: " not in rank.error:
        warned = _WARNED.findall(rank.context)
        headline += f". NCCL warned: {tidy(warned[-1].decode(errors='replace'))}" if warned else ""
    steps = [rank.fix] if rank.fix else []
    steps += [advice.logs(evidence, rank.rank), advice.resume(evidence)]
    shown_lines = traceback(rank) if rank.text else (evidence.exit_line(rank),)
    if not rank.fix:
        steps[:0] = raised.steps(rank)
    if "CalledProcessError" in rank.error and rank.context:  # the other program says why, above
        above = without_noise(rank.context.decode("utf-8", errors="replace").split("\n"))
        shown_lines = (*(Clue(tidy(text), rank.file) for text in above[-LAST:]), *shown_lines)
        telling = [tidy(text) for text in above if _TELLING.match(text)]
        headline += f" It printed: {telling[-1]}" if telling else ""
    if rank.code is not None and rank.error.endswith(f"(exit code {rank.code})"):
        words = tuple(Clue(text, rank.file) for text in _last_lines(rank)[-LAST:])
        shown_lines = (*words, evidence.exit_line(rank))
    return Cause(headline, tuple(steps), shown_lines, rank.rank, rank.host)


def _with_code(rank: RankFailure) -> str:
    """Return a rank's error; of one without a message the line of code that raised it, too.

    Of a syntax error Python names the place above it, without a traceback.
    """
    if re.match(r"(?:Syntax|Indentation|Tab)Error: ", rank.error):
        above = (rank.context + b"\n" + rank.text).decode("utf-8", errors="replace")
        places = re.findall(r'File "([^"\n]+)", line (\d+)\n', above)
        return f"{rank.error} ({PurePath(places[-1][0]).name}:{places[-1][1]})" if places else (
            rank.error
        )  # fmt: skip
    if not re.fullmatch(r"[\w.]+", rank.error):
        return rank.error
    raised = _RAISED.findall(rank.text.decode("utf-8", errors="replace"))
    if not raised:
        return rank.error
    file, number, code = raised[-1]
    return f"{rank.error} ({PurePath(file).name}:{number}: {tidy(code)})"


def killed(evidence: RunEvidence) -> Cause | None:
    """A rank was ended by a signal, and printed no error."""
    rank = evidence.culprit
    if rank is None or not rank.silent or rank.is_collateral or rank.code is None:
        return None
    number = -rank.code
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    meaning = {
        "SIGKILL": "by the system where memory ran out, or by a person",
        "SIGSEGV": "it touched memory that is not its own: a fault in compiled code",
        "SIGABRT": "compiled code gave up: its last words say why",
        "SIGBUS": "most often /dev/shm or a mapped file's disk is full",
        "SIGILL": "its code is for another processor",
        "SIGXCPU": "it used more CPU time than ulimit -t allows",
        "SIGXFSZ": "it wrote a file larger than ulimit -f allows",
        "SIGFPE": "a division by zero in compiled code",
        "SIGTERM": "by a person, or a program that watches the node: no other rank had failed",
    }.get(name, "")
    headline = f"exit code {rank.code}: killed by {name}" + (f" ({meaning})" if meaning else "")
    output = tuple(Clue(text, rank.file) for text in _last_lines(rank))
    step = {
        "SIGKILL": "what the kernel says on the node: dmesg -T | grep -i kill; or try more --mem",
        "SIGBUS": "df -h /dev/shm on the node; training.dataloader_num_workers=0 uses none of it",
        "SIGXCPU": "ulimit -t in the job shows the limit; your shell's start-up files may set it",
        "SIGXFSZ": "ulimit -f in the job shows the limit; your shell's start-up files may set it",
        "SIGTERM": "who may have ended it: the site's rules for processes on its nodes",
    }.get(name, "PYTHONFAULTHANDLER=1 in the job shows where it was")
    frame = _crashed_in(rank)
    message = _abort_message(rank) if name == "SIGABRT" else ""
    if message:
        headline = headline.replace(meaning, f"compiled code gave up: {message}")
    if frame and name != "SIGKILL":
        headline += f", in {frame}"
        step = f"see whether {frame.partition(' of ')[2] or frame} fits this PyTorch and this GPU"
    if name == "SIGILL" and rank.host and evidence.record.mode == "sbatch":
        step = "make the environment on a node of the oldest kind, or leave this kind of node out: "
        step += advice.resume(evidence, "--exclude", rank.host)
    shown_lines = (evidence.exit_line(rank), *output[-LAST:])
    steps = (step, advice.logs(evidence, rank.rank), advice.resume(evidence))
    return Cause(headline, steps, shown_lines, rank.rank, rank.host)


def _abort_message(rank: RankFailure) -> str:
    """Return the line in which compiled code says why it gave up; '' where there is none."""
    text = rank.text.decode("utf-8", errors="replace")
    found = (match for pattern in _ABORTED for match in pattern.finditer(text))
    return next((tidy(match[1])[:300] for match in found), "")


def _crashed_in(rank: RankFailure) -> str:
    """Return the function that Python's fault handler shows on top of its stack; '' without one."""
    text = rank.text.decode("utf-8", errors="replace")
    current = _CURRENT.search(text)
    match = _FAULT_FRAME.search(text, current.end()) if current else None
    if match is None:
        return ""
    package = package_of(match[1])
    return f"{match[2]} of {package}" if package else match[2]


def _last_lines(rank: RankFailure) -> list[str]:
    raw = rank.context + b"\n" + rank.text if rank.error else rank.text
    lines = raw.decode("utf-8", errors="replace").splitlines()
    return [text for line in lines[-8:] if (text := tidy(line))]


def traceback(rank: RankFailure) -> tuple[Clue, ...]:
    """Return the end of a rank's traceback, then its message with NCCL's last error."""
    lines = rank.text.decode("utf-8", errors="replace").split("\n")
    error = len(lines) - 1 if rank.error_at is None else min(rank.error_at, len(lines) - 1)
    kept: list[Clue] = []
    for at in range(error, -1, -1):
        text = _unranked(lines[at]).strip()
        if text.startswith("Traceback (most recent") or len(kept) == FRAMES:
            break
        if text and not set(text) <= set("^~ "):
            kept.insert(0, _shown(rank, lines, at))
    for at in range(error + 1, min(len(lines), error + MESSAGE)):
        if re.search(r"\w{2}", lines[at]):
            kept.append(_shown(rank, lines, at))
    return tuple(kept) or (rank.clue(),)


def _shown(rank: RankFailure, lines: list[str], at: int) -> Clue:
    """Return a line of a rank's text as evidence."""
    raw = _unranked(lines[at])
    number = None if rank.before is None else rank.before + at + 1
    text = ("  " if raw.startswith("    ") else "") + tidy(raw)
    return replace(rank.clue(), text=text, line=number, node=None)


def _unranked(line: str) -> str:
    return re.sub(r"^\[rank\d+\]: ?", "", line)


def unknown(evidence: RunEvidence) -> Cause:
    """No rule fits: the last lines of the log are shown."""
    if evidence.log.file is None:
        headline = "not known: the job left no log"
        steps = ["the job may never have begun: hpclaunch status " + evidence.record.name]
        job = evidence.record.job_id
        if job:
            steps.append(f"what Slurm remembers: scontrol show job {job}; sacct -j {job}")
        return Cause(headline, tuple(steps))
    code = "" if evidence.code is None else f" (exit code {evidence.code})"
    headline = f"not known{code}: nothing in the logs says why; the last lines are below"
    return Cause(headline, (advice.logs(evidence), advice.resume(evidence)), evidence.log.last)
