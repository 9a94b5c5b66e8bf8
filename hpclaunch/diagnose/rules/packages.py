"""Python packages that are missing, or of another version than the one that asks for them takes."""

from __future__ import annotations

import re
from pathlib import Path

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.packages import MODULES, OWN, PIP, REBUILT, package_of
from hpclaunch.diagnose.requirements import Requirement, requirement
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_FRAME = re.compile(r'File "([^"\n]+)", line \d+')
_MODULE = re.compile(r"No module named '?(\w[\w.]*)")
_SHARED_NAMES = {"google", "azure", "nvidia", "ruamel", "backports", "jaraco"}
"""Names under which several packages put their modules: one that is missing is a package."""
_DROPPED = {"distutils", "imp", "asyncore", "asynchat", "smtpd", "cgi", "pipes", "crypt",
            "telnetlib", "pkg_resources"}  # fmt: skip
"""What newer Pythons, or setuptools, no longer bring."""
_FIRST = {"encodings", "codecs", "io", "abc", "site", "os"}
"""What Python loads before anything else."""
_COMPILED = {"_lzma", "_bz2", "_ctypes", "_sqlite3", "_ssl", "_tkinter", "tkinter", "_curses",
             "_uuid", "_dbm", "_gdbm", "readline", "zlib", "_hashlib", "_zstd"}  # fmt: skip
"""What a Python lacks that was built where a library's headers were not."""


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


_REMOTE_CODE = "transformers_modules"
"""Where Transformers keeps the code that comes with a model: no package of that name exists."""


def of_python(evidence: RunEvidence) -> Cause | None:
    """A module is missing that Python itself brings, or brought in older releases."""
    line = evidence.root_cause_line("no_package")
    module = _MODULE.search(line.text) if line else None
    name = module[1].partition(".")[0] if module else ""
    if line is None or name not in _FIRST | _DROPPED | _COMPILED:
        return None
    headline = f"this Python was built without its module {name}"
    steps: tuple[str, ...] = (
        "no package brings it: make the environment with another Python, of a module of the site, "
        "conda or uv; it was built where a library's headers were missing",
    )
    if name in _FIRST:
        headline = f"Python does not find its own library (the module {name})"
        steps = (
            "unset PYTHONHOME in the job; a module of another Python may set it",
            "the Python that the environment was made of must be on storage that the nodes see: "
            "home in its pyvenv.cfg",
        )
    elif name == "pkg_resources":
        headline = "pkg_resources is not there: newer releases of setuptools do not bring it"
        steps = ("python -m pip install 'setuptools<81' in the job's environment, or upgrade the "
                 "package that asks for it",)  # fmt: skip
    elif name in _DROPPED:
        headline = f"this Python no longer has the module {name}: what asks for it is older"
        asks = _asking(evidence, line.text, "") or "setuptools"
        steps = (
            f"upgrade what asks for it: python -m pip install --upgrade {asks}",
            "or make the environment with an older Python",
        )
    return advice.cause(evidence, line, headline, *steps)


def gone_module(evidence: RunEvidence) -> Cause | None:
    """A package is there, and lacks a module that another one asks it for.

    Python names the first part that it does not find: of `a.b` it found `a`.
    """
    line = evidence.root_cause_line("no_package")
    module = _MODULE.search(line.text) if line else None
    top = module[1].partition(".")[0] if module else ""
    if line is None or module is None or top == module[1] or "is not a package" in line.text:
        return None
    if top in OWN | _SHARED_NAMES or module[1] in PIP or _is_beside_program(evidence, top):
        return None
    package = PIP.get(top) or top.replace("_", "-").strip("-")
    asks = _asking(evidence, line.text, package)
    imports = re.search(rf"\b(?:from|import) +{re.escape(top)}\b", evidence.last_words)
    if top == _REMOTE_CODE or (top not in MODULES and not (asks and imports)):
        return None  # a name that a config, or a pickle, holds
    which = f"{asks} asks for it, and" if asks else "what asks for it"
    both = f"{asks} {package}".strip()
    see = f"see them: python -m pip show {both}; what does not fit: python -m pip check"
    step = f"install the release of {package} that your program was written for"
    if asks in REBUILT:
        step = f"build a newer {asks} from its own sources, for the {package} that is installed"
    elif asks:
        step = f"python -m pip install --upgrade {asks}; where it is the newest, upgrade {package}"
    headline = f"the installed {package} has no module {module[1]}: {which} is of another release"
    return advice.cause(evidence, line, headline, see, step)


def _asking(evidence: RunEvidence, error: str, package: str) -> str:
    """Return the package whose line led to an error, another one than `package`; '' if none."""
    above = evidence.last_words.partition(error)[0]
    asking = [package_of(file) for file in _FRAME.findall(above)]
    return next((name for name in reversed(asking) if name and name != package), "")


def missing(evidence: RunEvidence) -> Cause | None:
    """A Python package is missing."""
    line = evidence.root_cause_line("no_package")
    if line is None or _FRAME.findall(evidence.last_words)[-1:] == ["<string>"]:
        return None  # of a text that the program executes: what it needs is no part of the job
    module = _MODULE.search(line.text)
    script = f"{evidence.folder.script}: its top names the environment"
    who = advice.who(evidence, line)
    if module and module[1].startswith(_REMOTE_CODE):
        return None
    if module:
        name = module[1]
        top = name.partition(".")[0]
        found = top != name and name not in PIP and top not in _SHARED_NAMES
        if top in OWN or found or _is_beside_program(evidence, top):
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
