"""Models, data and software that the job did not find, or could not use."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.evidence import Evidence
from hpclaunch.diagnose.rules import advice

_REPOSITORY = re.compile(r"huggingface\.co/(?:api/)?(?:models/|datasets/)?([\w.-]+/[\w.-]+)")
_CALLED = re.compile(
    r"(?:from_pretrained|load_dataset|snapshot_download)\(['\"]([\w.-]+/[\w.-]+)['\"]"
)
_TOLD = re.compile(r"(?:[Mm]odel|[Dd]ataset|identifier|repo) '?([\w.-]+/[\w.-]+)'?")
_ROW = re.compile(r"(\S+\.jsonl?:\d+): (.*?)(?:; repair the row|$)|(\S+), row (\d+): (.*?)(?:; |$)")
_PACKAGE = re.compile(r"No module named '?([\w.]+)")


def gated(e: Evidence) -> Cause | None:
    """The hub refused: a gated repository, or no token."""
    line = e.said("gated")
    if line is None:
        return None
    name = _name(e, line)
    where = f"https://huggingface.co/{name}" if name else "the model's page"
    headline = f"the hub gives no access to {name}" if name else "the hub gives no access"
    steps = (
        f"ask for access: {where}",
        "then save a token where the job finds it: hf auth login",
        advice.resume(e),
    )
    return Cause("no-access", headline, steps, (line,), *_who(e, line))


def not_found(e: Evidence) -> Cause | None:
    """A model, dataset or revision does not exist under that name."""
    line = e.said("not_found")
    if line is None or "gated" in line.text:
        return None
    name = _name(e, line)
    headline = f"{name} was not found on the hub" if name else line.text
    steps = (
        "see the name: model.name or data.name in the recipe",
        "a private one needs a token: hf auth login",
    )
    return Cause("not-found", headline, steps, (line,), *_who(e, line))


def offline(e: Evidence) -> Cause | None:
    """It is not in the cache, and the node has no way to the hub."""
    line = e.said("offline")
    limited = e.said("rate_limit")
    if line is None:
        return None if limited is None else _too_many(e, limited)
    name = _name(e, line)
    what = name or "what was asked for"
    headline = f"{what} is not in the cache, and the node does not reach the hub"
    steps = (
        f"fetch it where there is internet: hf download {name or 'NAME'}",
        "the job looks in the same HF_HOME as your shell: it must be on shared storage",
        advice.resume(e),
    )
    return Cause("offline", headline, steps, (line,), *_who(e, line))


def _too_many(e: Evidence, line: Clue) -> Cause:
    steps = ("wait an hour, or fetch it once: hf download NAME", advice.resume(e))
    headline = "the hub was asked too often, and answers no more for a while (429)"
    return Cause("rate-limit", headline, steps, (line,), *_who(e, line))


def bad_row(e: Evidence) -> Cause | None:
    """A line of the data cannot be used."""
    line = e.said("bad_row")
    if line is None and e.culprit is not None and "repair the row" in e.culprit.fix:
        line = e.culprit.clue()
    if line is None:
        return None
    match = _ROW.search(line.text)
    headline = "the data holds a line that cannot be used"
    if match:
        place = match.group(1) or f"{match.group(3)}, row {match.group(4)}"
        headline = f"{place}: {match.group(2) or match.group(5) or 'cannot be used'}"
    steps = ("repair the row or take it out", advice.resume(e))
    return Cause("bad-data", headline, steps, (line,), *_who(e, line))


def environment(e: Evidence) -> Cause | None:
    """A command, module or environment of the script is not there on the node."""
    line = e.said("no_module")
    if line is not None:
        step = "what there is: module avail; which are loaded: --module NAME and the site's"
        return Cause("no-module", f"a module is not there: {line.text}", (step,), (line,))
    line = e.said("no_command")
    if line is not None and (e.code in {126, 127, 1} or e.code is None):
        look = (
            "the job uses the environment of --venv: it must be on shared storage",
            f"see the top of {e.folder.script}",
        )
        text = re.sub(r"^\S*slurm_script: |^\S*job\.sbatch: ", "", line.text)
        return Cause("no-environment", f"not found on the node: {text}", look, (line,))
    return None


def package(e: Evidence) -> Cause | None:
    """A Python package is missing, or broken."""
    line = e.said("no_package")
    if line is None:
        return None
    match = _PACKAGE.search(line.text)
    headline = f"the Python package {match.group(1)} is missing" if match else line.text
    python = f"{e.folder.script}: its top names the environment"
    name = match.group(1).partition(".")[0] if match else "NAME"
    steps = (
        f"install it in the job's environment: python -m pip install {name}   ({python})",
        advice.resume(e),
    )
    return Cause("no-package", headline, steps, (line,), *_who(e, line))


def _name(e: Evidence, line: Clue) -> str:
    """Return the repository that is spoken of, '' where nothing tells."""
    texts = [line.text]
    if e.culprit is not None:
        texts.append(e.culprit.text.decode("utf-8", errors="replace"))
    for text in texts:
        for pattern in (_TOLD, _REPOSITORY, _CALLED):
            match = pattern.search(text)
            if match and not match.group(1).startswith("docs/"):
                return match.group(1).rstrip(".")
    return ""


def _who(e: Evidence, line: Clue) -> tuple[int | None, str | None]:
    return e.where(line)
