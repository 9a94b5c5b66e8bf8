"""GPUs that break: what the driver reports of them, and what the sidecars noted."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence
from hpclaunch.diagnose.tracebacks import HEADER

_XID = re.compile(r"Xid (?:\([^)]*\): )?(\d+)")
MEANINGS = {
    13: "the program did something illegal on the GPU",
    31: "the program touched memory of the GPU that is not its own",
    43: "the program's work on the GPU stopped",
    45: "the program's work on the GPU was ended early",
    48: "a double-bit memory error: the GPU's memory is failing",
    61: "a fault inside the GPU",
    62: "a fault inside the GPU",
    63: "a memory page of the GPU was retired",
    64: "a memory page of the GPU could not be retired",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    92: "a high rate of memory errors",
    94: "a contained memory error",
    95: "an uncontained memory error: the node must be reset",
    119: "the GPU's own processor did not answer",
    120: "the GPU's own processor failed",
}
"""What NVIDIA's catalogue of Xid errors says of the usual ones."""
UNLISTED = "see NVIDIA's list of Xid errors"
PROGRAM = {13, 31, 43, 45}
"""Of these most are the program's fault, not the device's."""
ENDED = {43, 45}
"""These follow whenever a program on the GPU is killed: as a sidecar's note they show nothing."""
REPAIRED = {63, 92}
"""The GPU has noted, or mended, these by itself, and goes on."""
_OF_GPU = re.compile(r"CUDA|cuda|NCCL|nccl|GPU|CUBLAS|CUDNN")
_ECC = "uncorrected ECC"


def reported(evidence: RunEvidence) -> Cause | None:
    """The driver reported an error of a GPU, or a GPU was lost."""
    lines = _not_survived(evidence, "xid") or _not_survived(evidence, "gpu_lost")
    notes = _noted(evidence)
    lost = evidence.root_cause_line("gpu_lost")
    if not lines and not lost and not (notes and not evidence.explained):
        return None
    line = next(iter(lines), lost)
    first = line or notes[0]
    number = _number(first.text)
    if number is not None:
        headline = f"GPU error Xid {number}: {MEANINGS.get(number, UNLISTED)}"
    elif _ECC in first.text or "ncorrectable ECC" in first.text:
        headline = "a GPU's memory had errors that could not be corrected"
    elif "NVLink" in first.text:
        headline = "an NVLink between GPUs had errors that could not be corrected"
    else:
        headline = "a GPU was lost while the job ran"
    if number in PROGRAM:
        if evidence.explained:
            return None
        steps = ["CUDA_LAUNCH_BLOCKING=1 in the job makes the traceback name the operation"]
    else:
        steps = ["tell your site's support: the node needs a look before it is used again"]
    rank, host = evidence.rank_and_host(line) if line else (None, None)
    if host is None and notes and not lines and not lost:
        host = notes[0].text.partition(":")[0]
    shown_lines = (*lines[:3], *notes[:2]) or ((line,) if line else ())
    out = None if number in PROGRAM else host
    return Cause(headline, (*steps, advice.elsewhere(evidence, out)), shown_lines, rank, host)


def _not_survived(evidence: RunEvidence, name: str) -> tuple[Clue, ...]:
    """Return the driver's lines that the training did not survive.

    A rank that says why it failed, and does not speak of its GPU, did not fail of it.
    """
    words = evidence.last_words
    explained = evidence.explained or (not evidence.ranks and HEADER in words)
    if explained and not _OF_GPU.search(words):
        return ()
    return tuple(
        line
        for line in evidence.matching_lines(name)
        if not evidence.log.went_on(line) and _number(line.text) not in REPAIRED
    )


def _noted(evidence: RunEvidence) -> tuple[Clue, ...]:
    """What the sidecars noted of devices that failed; what is a program's fault comes last."""
    found = [
        (_number(text) in PROGRAM, Clue(f"{node.node}: {text}", node.file))
        for node in evidence.nodes
        for text in node.notes
        if ("no longer sampled" in text or _ECC in text or _number(text) is not None)
        and _number(text) not in ENDED
    ]
    return tuple(clue for _, clue in sorted(found, key=lambda pair: pair[0]))


def _number(text: str) -> int | None:
    """Return the Xid that a line names."""
    match = _XID.search(text)
    return int(match.group(1)) if match else None
