"""What a program expects of the job around it: commands, variables, and a place for its output."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.program import traceback
from hpclaunch.diagnose.run_evidence import RunEvidence

_COMMAND = re.compile(r"No such file or directory: '([\w.+-]+)'$")
_STARTED = re.compile(r"in (?:_execute_child|_execvpe|_spawnvef)\n")
_VARIABLE = re.compile(r"KeyError: '([A-Z][A-Z0-9_]+)'")
_ENVIRON = re.compile(r"environ\[|File \"(?:<frozen os>|[^\"]*/os\.py)\", line \d+, in __getitem__")
_OF_LAUNCHER = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
                "MASTER_PORT"}  # fmt: skip
_OUTPUT = re.compile(
    r"(?:BrokenPipeError: \[Errno 32\] Broken pipe|OSError: \[Errno 5\] Input/output error"
    r"|BlockingIOError: \[Errno 11\] write could not complete without blocking)$"
)
_PRINTED = re.compile(
    r"\b(?:print|tqdm\.write|pbar\.\w+)\(|std(?:out|err)\.\w+\(|\bfp_?\w*\.write\("
)
_CODE = re.compile(r'File "[^"\n]+", line \d+, in [^\n]+\n(?:\[rank\d+\]:)? {3,}(\S[^\n]*)')


def no_command(evidence: RunEvidence) -> Cause | None:
    """The program starts another one, which is not there on the node."""
    line = evidence.root_cause_line("missing_file")
    match = _COMMAND.search(line.text) if line else None
    if line is None or match is None or not _STARTED.search(f"{evidence.last_words}\n"):
        return None
    name = match[1]
    steps = (
        f"load the module that brings it: module spider {name}; --module of hpclaunch sbatch gives "
        "it to the job",
        "or install it in the job's environment",
    )
    headline = f"the program starts {name}, which is not there on the node"
    return advice.cause(evidence, line, headline, *steps)


def no_variable(evidence: RunEvidence) -> Cause | None:
    """The program reads an environment variable that the job does not have."""
    rank = evidence.culprit
    match = _VARIABLE.fullmatch(rank.error) if rank else None
    if rank is None or match is None or not _ENVIRON.search(rank.text.decode(errors="replace")):
        return None
    name = match[1]
    if name in _OF_LAUNCHER:
        step = "the launcher sets it: start the program by accelerate launch or torchrun"
    elif name.startswith("SLURM_"):
        step = "Slurm sets it within srun: start the program by srun"
    else:
        step = (
            "the job has not all variables of your shell: `environment` in the site profile sets "
            "them for every process, or the program itself does"
        )
    headline = f"the environment variable {name} is not set in the job"
    return Cause(headline, (step, advice.resume(evidence)), traceback(rank), rank.rank, rank.host)


def no_output(evidence: RunEvidence) -> Cause | None:
    """What the program prints cannot be written: its terminal, or who read it, is gone."""
    rank = evidence.culprit
    if rank is None or rank.is_collateral or not _OUTPUT.match(rank.error):
        return None
    codes = _CODE.findall(rank.text.decode(errors="replace"))
    if not codes or not _PRINTED.search(codes[-1]):
        return None
    step = (
        "the terminal, or the program that read the output, is gone: start it as a batch job, or "
        "within tmux on a machine that stays up"
    )
    if "Errno 11" in rank.error:
        step = "the pipe or terminal was made non-blocking by another program: print into a file"
    headline = f"what the program prints cannot be written: {rank.error}"
    return Cause(headline, (step, advice.resume(evidence)), traceback(rank), rank.rank, rank.host)
