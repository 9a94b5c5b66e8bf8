"""Files and folders that a program asks for, and that are not there on the node."""

from __future__ import annotations

import re
import shlex

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice, raised
from hpclaunch.diagnose.rules.storage import OF_NODE, frames
from hpclaunch.diagnose.run_evidence import RunEvidence

_PATH = re.compile(r"['\"](/[^'\"]{1,300})['\"]")
_NO_DATA = re.compile(r"data files found in (/\S+)|directory at (/\S+) doesn't contain any data")
_HOLDS_NO = (
    re.compile(r"OSError: (?P<folder>/\S+) does not appear to have a file named (?P<name>\S+)\. "),
    re.compile(r"Error no file named (?P<name>[^,]+),.* found in directory (?P<folder>/\S+?)\.?$"),
    re.compile(r"Can't find '(?P<name>adapter_config\.json)' at '(?P<folder>/[^']+)'"),
)
_ASKED = re.compile(
    r"hf_api\.py|HfApi|model_info\(|dataset_info\(|repo_exists\(|upload_|push_to_hub"
)
_CONTAINER = re.compile(rb"underlay of /|apptainer|singularity|pyxis|enroot", re.IGNORECASE)


def missing_file(evidence: RunEvidence) -> Cause | None:
    """A file or folder that the program opens is not there on the node."""
    line = evidence.root_cause_line("missing_file")
    if line is None:
        return None
    match = _PATH.search(line.text) or _NO_DATA.search(line.text)
    where = next(filter(None, match.groups()), "") if match else ""
    named = re.search(r"Repo id must|Incorrect path_or", line.text) is not None
    if named and _ASKED.search(evidence.last_words):
        return None  # the program asks the hub about a folder, which may well be there
    headline = f"{where} is not there on the node, and is no name on the hub" if (
        named and where
    ) else line.text  # fmt: skip
    steps = [f"see it from a node: ls -ld {shlex.quote(where)}"] if where else []
    if "valid checkpoint" in line.text:
        step = (
            "start without resume_from_checkpoint, or name a checkpoint folder that was written "
            "to its end"
        )
        headline = f"no checkpoint is there that can be loaded: {line.text}"
        return advice.cause(evidence, line, headline, step)
    of_folder = _of_folder(evidence, line)
    if of_folder:
        return of_folder
    if OF_NODE.match(where):
        gone = "the node has it for itself, and another process may have taken it away: each rank "
        return advice.cause(evidence, line, headline, *steps, f"{gone}its own file there")
    if _CONTAINER.search(evidence.log.text[-(2**16) :]):
        steps.append("in a container its folder must be bound: apptainer exec --bind")
    from_message = raised.steps(evidence.culprit) if evidence.culprit and evidence.explained else []
    if "in _rmtree" in evidence.last_words:
        steps = [
            "another process removed it at the same time: let rank 0 alone remove, and give each "
            "job a folder of its own"
        ]
    elif where or "No such file" in line.text:
        from_message = [each for each in from_message if each.startswith(raised.SAYS)]
        steps.append("it must lie on storage that the nodes see")
    steps = [*from_message, *steps, advice.resume(evidence)]
    return Cause(headline, tuple(steps), frames(evidence, line), *advice.who(evidence, line))


def _of_folder(evidence: RunEvidence, line: Clue) -> Cause | None:
    """A folder holds no weights or config, or is not there to be written into."""
    held = next((match for pattern in _HOLDS_NO if (match := pattern.search(line.text))), None)
    if held:
        folder, name = held["folder"], held["name"]
        see = (
            f"what it holds: ls -l {shlex.quote(folder)}; it may lie in a folder below, or the "
            "weights are in shards that must be merged first"
        )
        return advice.cause(evidence, line, f"the folder {folder} holds no {name}", see)
    if "Parent directory" in line.text:
        folder = line.text.partition("Parent directory ")[2].partition(" does not")[0]
        make = f"let the program make it, or do it before: mkdir -p {shlex.quote(folder)}"
        return advice.cause(evidence, line, f"the folder {folder} to write into is not there", make)
    return None
