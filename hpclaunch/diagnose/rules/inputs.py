"""Data, modules and environments that the job did not find, or could not use."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.packages import package_of
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_ROW = re.compile(r"(\S+\.jsonl?:\d+): (.*?)(?:; repair the row|$)|(\S+), row (\d+): (.*?)(?:; |$)")
_FILE = re.compile(
    r"(?:Failed to (?:read|load) \w+|file) '?([/\w.-]+\.(?:jsonl?|parquet|csv|arrow))"
)
_COLUMNS = re.compile(r"(there are .*?columns.*|column names don't match.*)")
_UNDER = re.compile(
    r"^(?:\[rank\d+\]: ?)?(?:pyarrow\.lib\.)?((?!datasets)[\w.]*(?:Error|Invalid|Exception): .+)$",
    re.M,
)
"""What the loader of the data met first."""
_OF_PYTHON = re.compile(r"python|conda|mamba|torch|venv", re.IGNORECASE)
_OF_LIBRARIES = re.compile(
    r"cuda|cudnn|nccl|gcc|gnu|mpi|mkl|nvhpc|intel|foss|rocm|toolkit|compiler", re.IGNORECASE
)
"""Modules, by their names, that bring a Python with its packages, or libraries and compilers."""
_REFUSED = re.compile(r"([^\s:]+): Permission denied")
_KEY = re.compile(r"KeyError: '(\w[\w.-]*)'")
_FRAME = re.compile(r'File "([^"\n]+)", line \d+, in [^\n]+\n(?:\[rank\d+\]:)? +(\S[^\n]*)')
_OF_ROW = re.compile(r"\b(?:example|examples|row|sample|feature|element)s?\[")
_OF_FILE = re.compile(r": line \d+: (?!.*activate).*: No such file or directory$")
"""bash names a program of the script so, and a file that it cannot read, too."""
_STARTUP = re.compile(r"^\S*(?:/etc/|/usr/share/|/\.bash|/\.profile|/\.zsh|modules/init)")
"""Shells' start-up files: what is missing in them is missed by no job."""


def bad_row(evidence: RunEvidence) -> Cause | None:
    """A line of the data cannot be used, or its files do not fit each other."""
    line = evidence.root_cause_line("bad_row")
    if line is None and evidence.culprit is not None and "repair the row" in evidence.culprit.fix:
        line = evidence.culprit.clue()
    if line is None:
        return None
    text = evidence.last_words
    match, columns, file = _ROW.search(line.text), _columns(text), _FILE.search(text)
    under = _UNDER.search(text)
    headline = "the data holds a line that cannot be used"
    headline += f" ({file[1]})" if file else ""
    steps = ("repair the row or take it out", advice.resume(evidence))
    if match:
        place = match.group(1) or f"{match.group(3)}, row {match.group(4)}"
        headline = f"{place}: {match.group(2) or match.group(5) or 'cannot be used'}"
    elif columns:
        headline = f"the files of the data have different columns: {columns}"
        steps = ("give all files the same columns, or name the files to use", steps[1])
    elif under:
        headline = headline.replace("a line that", "something that") + f": {under[1]}"
        steps = ("repair the file, or make it anew", steps[1])
    return Cause(headline, steps, (line,), *evidence.rank_and_host(line))


def _columns(text: str) -> str:
    """Return what is said of columns that differ, the most telling line; '' where nothing is."""
    lines = [match[1].strip() for match in _COLUMNS.finditer(text)]
    return next((line for line in lines if line.startswith("there are")), "".join(lines[:1]))


def no_column(evidence: RunEvidence) -> Cause | None:
    """A trainer asks the rows of the data for a column that they do not have."""
    rank = evidence.culprit
    named = _KEY.fullmatch(rank.error) if rank else None
    frames = _FRAME.findall(evidence.last_words)
    if rank is None or named is None or not frames or not _OF_ROW.search(frames[-1][1]):
        return None
    package = package_of(frames[-1][0])
    if package not in {"trl", "transformers", "llamafactory"}:
        return None
    steps = (
        "see what columns the rows have: SFT takes messages, or prompt and completion, or text "
        "(dataset_text_field names another); DPO prompt, chosen and rejected",
        advice.resume(evidence),
    )
    headline = f"the data has no column '{named[1]}', which {package} asks its rows for"
    return Cause(headline, steps, (rank.clue(),), rank.rank, rank.host)


def calibration(evidence: RunEvidence) -> Cause | None:
    """The rows that int4 is calibrated with say too little of a layer."""
    line = evidence.root_cause_line("calibration")
    if line is None or evidence.record.stage != "quantize":
        return None
    steps = (
        "calibrate with more rows, longer and more varied ones: hpclaunch quantize --rows 1024",
        advice.resume(evidence),
    )
    headline = "the rows do not suffice to calibrate a layer (its Hessian is not positive-definite)"
    return Cause(headline, steps, (line,), *evidence.rank_and_host(line))


def no_module(evidence: RunEvidence) -> Cause | None:
    """A module that the script loads is not there on the node."""
    line = evidence.root_cause_line("no_module") or _module_before(evidence)
    if line is None:
        return None
    if "exist but cannot be loaded" in line.text:
        step = "which ones it wants before it: module spider with its name; then --module for each"
        return Cause(f"a module wants another one loaded before it: {line.text}", (step,), (line,))
    step = "what there is: module avail; the job loads those of --module and of the site profile"
    return Cause(f"a module is not there: {line.text}", (step,), (line,))


def _module_before(evidence: RunEvidence) -> Clue | None:
    """Return the script's line on a module that would have brought what a rank then missed."""
    brings = None
    if evidence.root_cause_line("no_package"):
        brings = _OF_PYTHON
    elif evidence.root_cause_line("missing_library", "no_compiler"):
        brings = _OF_LIBRARIES
    if brings is None:
        return None
    lines = _of_script(evidence, "no_module")
    return next((line for line in lines if brings.search(line.text)), None)


def _of_script(evidence: RunEvidence, name: str) -> list[Clue]:
    """Return the lines with a phrase of a name that no rank wrote."""
    return [line for line in evidence.matching_lines(name) if line.local_rank is None]


def not_active(evidence: RunEvidence) -> Cause | None:
    """The script could not activate its environment, and ended, or a rank missed what it holds."""
    line = next(iter(_of_script(evidence, "not_active")), None)
    if line is None:
        return None
    missed = evidence.last_words.rstrip().rpartition("\n")[2].strip()
    ended = not evidence.ranks and missed in line.text
    if ended:
        missed = ""
    elif evidence.root_cause_line("no_package", "missing_library", "no_compiler") is None:
        return None
    steps = (
        "a conda environment in a job: source its installation's etc/profile.d/conda.sh before "
        "conda activate; any other must be on storage that the nodes see",
        f"see the top of {evidence.folder.script}",
        advice.resume(evidence),
    )
    headline = f"the environment is not active: {line.text}"
    return Cause(f"{headline} (then {missed})" if missed else headline, steps, (line,))


def _is_telling(line: Clue, missing: bool) -> bool:
    """Return whether a line says that a program is not there; bash says it of files it reads, too.

    `missing`: the script's exit code says the same.
    """
    return not _OF_FILE.search(line.text) and (missing or not line.text.endswith("not found"))


def no_environment(evidence: RunEvidence) -> Cause | None:
    """A command or environment of the script is not there on the node."""
    if evidence.ranks or evidence.root_cause_line("no_module") is not None:
        return None
    lines = [
        line
        for line in evidence.matching_lines("no_command")
        if evidence.log.is_at_end(line) and not _STARTUP.search(line.text)
    ]
    missing = evidence.code in {126, 127, None}
    last = evidence.log.end().rstrip().rpartition("\n")[2]  # the script did nothing after it
    shown = (line for line in lines if line.text in last or _is_telling(line, missing))
    line = next(shown, None)
    if line is None:
        return None
    if "Exec format error" in line.text:
        program = line.text.partition("execve(): ")[2].partition(": ")[0]
        made_for = (
            f"what it is made for: file -L {advice.word(program)}; what the node has: uname -m"
        )
        headline = f"it cannot run on this node's processor, or is a script without #!: {line.text}"
        anew = "make the environment on a node of the job's kind"
        return Cause(headline, (made_for, anew), (line,))
    refused = _REFUSED.search(line.text)
    if refused:
        program = advice.word(refused[1])
        may = f"let it be executed, chmod +x {program}; or name its interpreter before it"
        see = f"whose it is, and whether its disk is mounted noexec: ls -l {program}"
        return Cause(f"{refused[1]} may not be executed: {line.text}", (may, see), (line,))
    steps = (
        "the job uses the environment of --venv: it must be on shared storage",
        f"see the top of {evidence.folder.script}",
    )
    text = re.sub(r"^\S*(?:slurm_script|job\.sbatch|launch\.sh): ", "", line.text)
    headline = text.removeprefix("hpclaunch: ").partition("; make it anew")[0]
    if headline == text:
        headline = f"not found on the node: {text}"
    return Cause(headline, steps, (line,))
