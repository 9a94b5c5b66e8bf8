"""Python packages that are missing, or of another version than the one that asks for them takes."""

from __future__ import annotations

import re
from pathlib import Path

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.packages import OWN, PIP, REBUILT
from hpclaunch.diagnose.requirements import Requirement, requirement
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_FRAME = re.compile(r'File "([^"\n]+)", line \d+')
_MODULE = re.compile(r"No module named '?(\w[\w.]*)")


def outdated(evidence: RunEvidence) -> Cause | None:
    """A package is of another version than the one that asks for it takes."""
    line = evidence.root_cause_line("requirement", "no_package")
    if line is None or _MODULE.search(line.text) or "cannot import name" in line.text:
        return None
    needed = requirement(line.text)
    if not needed.outdated or not needed.command:
        return None
    version = f" {needed.bound}" if needed.bound else ", in another version"
    headline = f"{needed.name}{version} is needed: {line.text}"
    steps = (
        f"which version it is: python -m pip show {needed.name.partition('[')[0]}",
        f"install the one that is needed: {needed.command}",
    )
    return advice.cause(evidence, line, headline, *steps)


def missing(evidence: RunEvidence) -> Cause | None:
    """A Python package is missing."""
    line = evidence.root_cause_line("no_package")
    if line is None or _FRAME.findall(evidence.last_words)[-1:] == ["<string>"]:
        return None  # of a text that the program executes: what it needs is no part of the job
    module = _MODULE.search(line.text)
    script = f"{evidence.folder.script}: its top names the environment"
    who = advice.who(evidence, line)
    if module:
        name = module[1]
        top = name.partition(".")[0]
        if top in OWN or _is_beside_program(evidence, top):
            step = (
                f"{top} looks like a part of your own program: start it where {top} lies, or put "
                "that folder into PYTHONPATH"
            )
            headline = f"Python does not find the module {name}"
            return advice.cause(evidence, line, headline, step)
        package = PIP.get(name) or PIP.get(top) or top.replace("_", "-").strip("-")
        isolated = " --no-build-isolation" if package in REBUILT else ""
        needed = Requirement(name)
        command = f"python -m pip install {package}{isolated}"
    else:
        needed = requirement(line.text)
        command = needed.command
    if not command:
        headline = f"{needed.name} is not installed: {line.text}" if needed.name else line.text
        return Cause(headline, (f"see the job's environment   ({script})",), (line,), *who)
    older = ", or too old" if needed.old_or_missing else ""
    headline = f"the Python package {needed.name}{needed.bound} is missing{older}"
    steps = (
        f"install it in the job's environment: {command}   ({script})", advice.resume(evidence),
    )  # fmt: skip
    return Cause(headline, steps, (line,), *who)


def _is_beside_program(evidence: RunEvidence, top: str) -> bool:
    """Return whether a file or folder of that name lies beside the user's program."""
    for word in evidence.record.program[:1]:
        folder = Path(word).parent
        if folder.is_absolute() and ((folder / top).is_dir() or (folder / f"{top}.py").is_file()):
            return True
    return False
