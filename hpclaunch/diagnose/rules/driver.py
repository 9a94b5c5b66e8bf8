"""PyTorch, the CUDA or ROCm that it is built for, the driver and the GPU, where they do not fit."""

from __future__ import annotations

import re

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_OF_GPU = re.compile(r"cuda|nccl|gpu\b|gpus\b|cublas|cudnn", re.IGNORECASE)
_NO_KERNELS = re.compile(r"no kernel image|device function|not compatible|gpu-(?:arch|name)")
_OF_BUILD = (
    "install a PyTorch built for the node's CUDA (nvidia-smi there shows the highest it takes)",
    "or load a module that brings one (see module avail; --module of hpclaunch sbatch)",
)
_OF_ROCM = (
    "install a PyTorch for the node's ROCm whose kernels the GPU takes: rocminfo | grep gfx names "
    "it",
    "HSA_OVERRIDE_GFX_VERSION in the job names another GPU than there is: unset it",
)
_LIBCUDA = (
    "see whether a module or LD_LIBRARY_PATH brings another libcuda.so than the driver's "
    "(a folder compat is one): ldconfig -p and echo $LD_LIBRARY_PATH in the job"
)


def mismatch(evidence: RunEvidence) -> Cause | None:
    """PyTorch, the CUDA it is built for, the driver and the GPU do not fit each other."""
    line = evidence.root_cause_line("driver")
    if line is None and _OF_GPU.search(evidence.last_words):
        line = evidence.context_line("driver") or _reported_by_tool(evidence)
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    headline, steps = _kind(evidence, line.text, host)
    return Cause(headline, steps, (line,), rank, host)


def _kind(evidence: RunEvidence, text: str, host: str | None) -> tuple[str, tuple[str, ...]]:
    """Return headline and steps, by what the line says."""
    again = advice.elsewhere(evidence, host)
    headline = "the driver is too old for this PyTorch's CUDA"
    steps: tuple[str, ...] = _OF_BUILD
    if "forward compatibility was attempted" in text:
        headline = "a libcuda.so for forward compatibility does not fit this GPU or its driver"
        headline += " (CUDA error 804)"
        container = "in a container it is /usr/local/cuda/compat: take it out of LD_LIBRARY_PATH"
        steps = (_LIBCUDA, container, again)
    elif "kernel image is invalid" in text:
        headline = f"compiled kernels do not fit this GPU or its driver: {text}"
        cached = "they may be of another GPU type, kept in a cache: TRITON_CACHE_DIR of its own for"
        steps = (f"{cached} each kind of node, or remove ~/.triton/cache", *_OF_BUILD)
    elif _NO_KERNELS.search(text):
        headline = "this PyTorch has no code for this GPU"
        if "HIP" in text:
            headline += f": {text}"
            steps = _OF_ROCM
    elif "Driver/library" in text or "unsupported display" in text:
        headline = "the driver on the node and its libraries are of two versions"
        reset = "tell your site's support: the node must be restarted or its driver loaded anew"
        steps = (reset, again)
        if "display driver" in text:
            steps = (_LIBCUDA, *steps)
    elif _others_run(evidence, host):
        older = f"the other nodes of the job did not fail so: {host} has an older driver"
        steps = (older, again, *steps)
    return headline, steps


def _others_run(evidence: RunEvidence, host: str | None) -> bool:
    """Return whether one node of several alone met it."""
    hosts = {rank.host for rank in evidence.ranks if patterns.has("driver", rank.text)}
    return evidence.record.nodes > 1 and host is not None and hosts == {host}


def _reported_by_tool(evidence: RunEvidence) -> Clue | None:
    """Return what nvidia-smi or NVML said of a driver that its library does not fit."""
    lines = (line for line in evidence.matching_lines("driver") if "Driver/library" in line.text)
    return next((line for line in lines if not evidence.log.went_on(line)), None)
