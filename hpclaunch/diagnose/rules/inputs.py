"""Models, data and software that the job did not find, or could not use."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_REPOSITORY = re.compile(r"huggingface\.co/(?:api/)?(?:models/|datasets/)?([\w.-]+/[\w.-]+)")
_CALLED = re.compile(
    r"(?:from_pretrained|load_dataset|snapshot_download)\(['\"]([\w.-]+/[\w.-]+)['\"]"
)
_NAMED = re.compile(r"(?:[Mm]odel|[Dd]ataset|identifier|repo) '?([\w.-]+/[\w.-]+)'?")
_ROW = re.compile(r"(\S+\.jsonl?:\d+): (.*?)(?:; repair the row|$)|(\S+), row (\d+): (.*?)(?:; |$)")
_PACKAGE = re.compile(r"No module named '?([\w.]+)")


def gated(evidence: RunEvidence) -> Cause | None:
    """The hub refused: a gated repository, or no token."""
    line = evidence.root_cause_line("gated")
    if line is None:
        return None
    name = _name(evidence, line)
    where = f"https://huggingface.co/{name}" if name else "the model's page"
    headline = f"the hub gives no access to {name}" if name else "the hub gives no access"
    steps = (
        f"ask for access: {where}",
        "then save a token where the job finds it: hf auth login",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (line,), *_who(evidence, line))


def not_found(evidence: RunEvidence) -> Cause | None:
    """A model, dataset or revision does not exist under that name."""
    line = evidence.root_cause_line("not_found")
    if line is None or "gated" in line.text:
        return None
    name = _name(evidence, line)
    headline = f"{name} was not found on the hub" if name else line.text
    steps = (
        "see the name: model.name or data.name in the recipe",
        "a private one needs a token: hf auth login",
    )
    return Cause(headline, steps, (line,), *_who(evidence, line))


def offline(evidence: RunEvidence) -> Cause | None:
    """It is not in the cache, and the node has no way to the hub."""
    line = evidence.root_cause_line("offline")
    if line is None:
        return None
    name = _name(evidence, line)
    what = name or "what was asked for"
    headline = f"{what} is not in the cache, and the node does not reach the hub"
    steps = (
        f"fetch it where there is internet: hf download {name or 'NAME'}",
        "the job looks in the same HF_HOME as your shell: it must be on shared storage",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (line,), *_who(evidence, line))


def rate_limit(evidence: RunEvidence) -> Cause | None:
    """The hub refuses further requests for a while."""
    line = evidence.root_cause_line("rate_limit")
    if line is None or evidence.root_cause_line("offline") is not None:
        return None
    steps = ("wait an hour, or fetch it once: hf download NAME", advice.resume(evidence))
    headline = "the hub was asked too often, and answers no more for a while (429)"
    return Cause(headline, steps, (line,), *_who(evidence, line))


def bad_row(evidence: RunEvidence) -> Cause | None:
    """A line of the data cannot be used."""
    line = evidence.root_cause_line("bad_row")
    if line is None and evidence.culprit is not None and "repair the row" in evidence.culprit.fix:
        line = evidence.culprit.clue()
    if line is None:
        return None
    match = _ROW.search(line.text)
    headline = "the data holds a line that cannot be used"
    if match:
        place = match.group(1) or f"{match.group(3)}, row {match.group(4)}"
        headline = f"{place}: {match.group(2) or match.group(5) or 'cannot be used'}"
    steps = ("repair the row or take it out", advice.resume(evidence))
    return Cause(headline, steps, (line,), *_who(evidence, line))


def no_module(evidence: RunEvidence) -> Cause | None:
    """A module that the script loads is not there on the node."""
    line = evidence.root_cause_line("no_module")
    if line is None:
        return None
    step = "what there is: module avail; which are loaded: --module NAME and the site's"
    return Cause(f"a module is not there: {line.text}", (step,), (line,))


def no_environment(evidence: RunEvidence) -> Cause | None:
    """A command or environment of the script is not there on the node."""
    line = evidence.root_cause_line("no_command")
    if line is None or evidence.root_cause_line("no_module") is not None:
        return None
    if evidence.code not in {126, 127, 1, None}:
        return None
    steps = (
        "the job uses the environment of --venv: it must be on shared storage",
        f"see the top of {evidence.folder.script}",
    )
    text = re.sub(r"^\S*(?:slurm_script|job\.sbatch|launch\.sh): ", "", line.text)
    headline = text.removeprefix("hpclaunch: ").partition("; make it anew")[0]
    if headline == text:
        headline = f"not found on the node: {text}"
    return Cause(headline, steps, (line,))


def package(evidence: RunEvidence) -> Cause | None:
    """A Python package is missing, or broken."""
    line = evidence.root_cause_line("no_package")
    if line is None:
        return None
    match = _PACKAGE.search(line.text)
    headline = f"the Python package {match.group(1)} is missing" if match else line.text
    python = f"{evidence.folder.script}: its top names the environment"
    name = match.group(1).partition(".")[0] if match else "NAME"
    steps = (
        f"install it in the job's environment: python -m pip install {name}   ({python})",
        advice.resume(evidence),
    )
    return Cause(headline, steps, (line,), *_who(evidence, line))


def _name(evidence: RunEvidence, line: Clue) -> str:
    """Return the repository that a line or the traceback names; '' if neither does."""
    texts = [line.text]
    if evidence.culprit is not None:
        texts.append(evidence.culprit.text.decode("utf-8", errors="replace"))
    for text in texts:
        for pattern in (_NAMED, _REPOSITORY, _CALLED):
            match = pattern.search(text)
            if match and not match.group(1).startswith("docs/"):
                return match.group(1).rstrip(".")
    return ""


def _who(evidence: RunEvidence, line: Clue) -> tuple[int | None, str | None]:
    return evidence.rank_and_host(line)
