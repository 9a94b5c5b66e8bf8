"""What must be compiled in the job: the compiler, the headers, the CUDA toolkit for it."""

from __future__ import annotations

from dataclasses import replace

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence


def no_compiler(evidence: RunEvidence) -> Cause | None:
    """Something is compiled in the job, and the compiler for it is missing or does not fit."""
    steps: tuple[str, ...]
    line = evidence.root_cause_line("no_compiler")
    if line is None and "CalledProcessError" in evidence.last_words:
        line = evidence.context_line("no_compiler")
    if line is None:
        return None
    if "torch_extensions/" in line.text:
        steps = (
            "why the build failed stands above, or in the log of the rank that built it: "
            f"{advice.logs(evidence)}",
            "a build that broke off, or one of another node, stays there: remove "
            "~/.cache/torch_extensions, and build once before the job starts",
        )
        headline = f"an extension that is compiled in the job is not there: {line.text}"
        return advice.cause(evidence, line, headline, *steps)
    if "Python.h" in line.text:
        steps = (
            "the headers of this Python are not on the node: use one that brings them (a module, "
            "conda, uv), or ask your site for python3-devel on the nodes",
        )
        headline = f"Triton must compile in the job, and cannot: {line.text}"
        return advice.cause(evidence, line, headline, *steps)
    steps = (
        "load modules that bring a C compiler, and a CUDA toolkit of the version that torch was "
        "built with (python -c 'import torch; print(torch.version.cuda)'); CUDA_HOME must name it",
        "why a build failed stands above: hpclaunch logs " + evidence.record.name,
    )
    stopped = _stopped_by(evidence, line)
    headline = f"something must be compiled in the job, and cannot be: {line.text}"
    headline += f": {stopped.text}" if stopped else ""
    if stopped and "cannot find -l" in stopped.text:
        steps = (
            "the linker does not find a library: LIBRARY_PATH must name its folder; for CUDA's, "
            "load the toolkit's module, or set CUDA_HOME and LIBRARY_PATH=$CUDA_HOME/lib64/stubs:"
            "$CUDA_HOME/lib64", *steps[1:],
        )  # fmt: skip
    found = advice.cause(evidence, line, headline, *steps)
    return replace(found, evidence=(stopped, line)) if stopped else found


def _stopped_by(evidence: RunEvidence, line: Clue) -> Clue | None:
    """Return what the compiler or linker printed of a build that failed; None where nothing shows.

    It goes to stdout, so that a rank's own log has it not.
    """
    if "Error building extension" not in line.text:
        return None
    for name in ("build_error", "no_compiler"):
        own = (evidence.root_cause_line(name), evidence.context_line(name))
        job = (each for each in evidence.matching_lines(name) if line.node in (None, each.node))
        for each in (*own, *job):
            if each is not None and "Error building" not in each.text:
                return each
    return None
