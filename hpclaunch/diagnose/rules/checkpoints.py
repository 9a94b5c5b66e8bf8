"""Files of weights and states that are not whole, or do not fit what is trained."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.hub import repository
from hpclaunch.diagnose.run_evidence import RunEvidence

_STATE = re.compile(r"load_from_json|trainer_state\.json|TRAINER_STATE|TrainerState")
_RESUMED = re.compile(
    r"resume_from_checkpoint|checkpoint-\d+|_load_optimizer|_load_rng|load_state\(|load_checkpoint"
    r"|optimizer\.(?:pt|bin)|scheduler\.pt|rng_state|OPTIMIZER_NAME|SCHEDULER_NAME|load_from_json"
    r"|distributed/checkpoint|steps?[-_]\d+|epoch[-_.]\d+"
)
_LOADED = re.compile(r"from_pretrained\(|safe_open\(|load_state_dict\(|hub/models--|snapshots/")
_JSON_FILE = re.compile(r"['\"]([^'\"]*\.json)['\"] is not a valid JSON file")
_FOLDER = re.compile(r"([\w./~-]*(?:checkpoint-\d+|step-\d+|global_step\d+))")
_RANKS = re.compile(r"a DP world size of (\d+) but the current world size is (\d+)")
"""DeepSpeed keeps the optimizer's states as its ranks held them."""
_DETAIL = re.compile(r"(size mismatch for .*|(?:Missing|Unexpected) key\(s\).*)")


def torn(evidence: RunEvidence) -> Cause | None:
    """A checkpoint was not written to its end."""
    line, text = _torn_line(evidence), evidence.last_words
    line = line or _without_contents(evidence)
    if line is None or not _RESUMED.search(text + _context(evidence)):
        return None
    folder = _FOLDER.search(text) or _FOLDER.search(_context(evidence))
    which = f" {folder[1]}" if folder else ""
    json_file = _JSON_FILE.search(text)
    file = "its trainer_state.json" if _STATE.search(text) else "one of its files"
    file = json_file[1] if json_file else file
    steps = (
        f"take the checkpoint{which} away, and go on from the one before it",
        "it was not written to its end: the job was killed, or the disk was full, while it saved",
    )
    headline = f"the checkpoint{which} is torn: {file} cannot be read ({_short(line.text)})"
    return advice.cause(evidence, line, headline, *steps)


def torn_model(evidence: RunEvidence) -> Cause | None:
    """A file of weights is not whole: a download broke off, or the disk was full."""
    line, text = _torn_line(evidence), evidence.last_words
    if line is None or torn(evidence) is not None:
        return None
    name, data = repository(evidence)
    kind = " --repo-type dataset" if data else ""
    fetch = f"fetch it anew: hf download {name}{kind} --force-download" if name else (
        "write or copy the file anew, and compare its size with the original's"
    )  # fmt: skip
    what = f" of {name}" if name and _LOADED.search(text) else ""
    headline = f"a file{what} is not whole: {_short(line.text)}"
    steps = [fetch]
    if "invalid load key, 'v'" in line.text:
        steps.insert(
            0, "where it begins with 'version https://git-lfs', it is a pointer: git lfs pull"
        )
    return advice.cause(evidence, line, headline, *steps)


def wrong(evidence: RunEvidence) -> Cause | None:
    """A checkpoint, or an adapter, of another model or layout."""
    line = evidence.root_cause_line("wrong_checkpoint")
    if line is None:
        return None
    ranks = _RANKS.search(line.text)
    if ranks:
        return advice.cause(
            evidence, line,
            f"the checkpoint is of {ranks[1]} data-parallel ranks, and {ranks[2]} load it",
            f"go on with as many GPUs as saved it ({ranks[1]} data-parallel ranks)",
            "or convert it: DeepSpeed's ds_to_universal.py, then load_universal of its config",
        )  # fmt: skip
    detail = _DETAIL.search(line.text)
    headline = f"the saved state does not fit the model: {detail[1] if detail else line.text}"
    steps = (
        "load it into the model, vocabulary and settings that it was saved of, or start anew "
        "without it",
    )
    return advice.cause(evidence, line, headline, *steps)


def _without_contents(evidence: RunEvidence) -> Clue | None:
    """Return the line on a sharded checkpoint's missing .metadata, which is written last."""
    line = evidence.root_cause_line("missing_file")
    return line if line is not None and "/.metadata'" in line.text else None


def _torn_line(evidence: RunEvidence) -> Clue | None:
    line, text = evidence.root_cause_line("torn_file"), evidence.last_words
    if line is None and (_STATE.search(text) or _JSON_FILE.search(text)):
        return evidence.root_cause_line("json_error")
    return line


def _context(evidence: RunEvidence) -> str:
    """Return what the rank printed just before: where it resumed from."""
    texts = [rank.context for rank in evidence.speakers[:1]]
    return b"".join(texts).decode("utf-8", errors="replace")


def _short(text: str) -> str:
    return re.sub(r"^[\w.]+\.(\w+: )", r"\1", text)[:200]
