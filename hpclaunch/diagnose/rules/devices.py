"""GPUs that break, are missing, or do not fit their driver."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

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


def hardware(evidence: RunEvidence) -> Cause | None:
    """The driver reported an error of a GPU, or a GPU was lost."""
    lines = _reported(evidence, "xid") or _reported(evidence, "gpu_lost")
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
    return Cause(headline, (*steps, advice.resume(evidence)), shown_lines, rank, host)


def _reported(evidence: RunEvidence, name: str) -> tuple[Clue, ...]:
    """Return the driver's lines that the training did not survive.

    A rank that says why it failed, and does not speak of its GPU, did not fail of it.
    """
    if evidence.explained and not _OF_GPU.search(evidence.last_words):
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


def fabric_manager(evidence: RunEvidence) -> Cause | None:
    """The GPUs of a node with NVSwitch wait for its fabric manager, which does not run."""
    line = evidence.root_cause_line("fabric_manager")
    if line is None and re.search(r"cuda|CUDA|GPU", evidence.last_words):
        line = evidence.context_line("fabric_manager")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    steps = (
        "tell your site's support: nvidia-fabricmanager does not run on the node, or is of another "
        "version than the driver",
        *_elsewhere(evidence, host),
    )
    headline = "the GPUs are not initialized (CUDA error 802): the node's fabric manager is down"
    return Cause(headline, steps, (line,), rank, host)


def busy(evidence: RunEvidence) -> Cause | None:
    """A GPU that another process holds, in exclusive mode, or that hangs."""
    line = evidence.root_cause_line("gpu_busy")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    steps = (
        "who holds it, and in which mode: nvidia-smi -q -d COMPUTE,PIDS on the node; in "
        "Exclusive_Process one process has it alone",
        "each rank must use its own GPU: torch.cuda.set_device(int(os.environ['LOCAL_RANK'])) "
        "before anything else of CUDA",
        *_elsewhere(evidence, host),
    )
    headline = "the GPU is busy: another process holds it (exclusive mode), or it hangs"
    return Cause(headline, steps, (line,), rank, host)


def ordinal(evidence: RunEvidence) -> Cause | None:
    """A rank asked for a GPU beyond those that it sees."""
    line = evidence.root_cause_line("gpu_ordinal")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    processes = evidence.record.processes_per_node
    steps: tuple[str, ...] = (
        f"{processes} processes were started on a node: ask for as many GPUs (--gpus {processes}), "
        "or for fewer processes",
        "see that CUDA_VISIBLE_DEVICES is not set in your shell's start-up files or your program",
        advice.resume(evidence),
    )
    headline = "more processes than GPUs that are visible on the node: invalid device ordinal"
    loaded = re.search(r"on CUDA device (\d+) but torch.cuda.device_count\(\) is (\d+)", line.text)
    if loaded:
        headline = f"a file saved on GPU {loaded[1]} is loaded where {loaded[2]} is visible"
        steps = ("give torch.load a map_location: map_location='cpu'", advice.resume(evidence))
    return Cause(headline, steps, (line,), rank, host)


def duplicate(evidence: RunEvidence) -> Cause | None:
    """Two ranks use one GPU."""
    line = evidence.root_cause_line("duplicate_gpu") or evidence.nccl_line("duplicate_gpu")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    match = re.search(r"rank (\d+) and rank (\d+) both on CUDA device (\w+)", line.text)
    which = f"rank {match[1]} and rank {match[2]}" if match else "two ranks"
    device = f" (device {match[3]})" if match else ""
    steps = (
        "each rank must use its own GPU: torch.cuda.set_device(int(os.environ['LOCAL_RANK']))",
        "the launch is wrong where every process has LOCAL_RANK 0, or two launchers run on a node: "
        "one launcher a node, with as many processes as GPUs",
        advice.resume(evidence),
    )
    return Cause(f"{which} use the same GPU{device}", steps, (line,), rank, host)


def _elsewhere(evidence: RunEvidence, host: str | None) -> tuple[str, ...]:
    """Return the command that goes on, without the node if that is known."""
    words = ("--exclude", host) if host is not None and evidence.record.mode == "sbatch" else ()
    return (advice.resume(evidence, *words),)


def missing(evidence: RunEvidence) -> Cause | None:
    """A rank saw no GPU, or another number than was asked for."""
    line = evidence.root_cause_line("no_gpu")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    built = "not compiled with CUDA" in line.text
    headline = "this PyTorch is built without CUDA" if built else f"no usable GPU: {line.text}"
    steps = (
        ("install a PyTorch for CUDA in the job's environment, or name another by --venv",)
        if built
        else (
            "see that the job asks for GPUs (--gpus and --gpu of hpclaunch sbatch)",
            "see that CUDA_VISIBLE_DEVICES is not set in your shell's start-up files",
        )
    )
    return Cause(headline, steps, (line,), rank, host)


def driver(evidence: RunEvidence) -> Cause | None:
    """PyTorch, the CUDA it is built for, the driver and the GPU do not fit each other."""
    line = evidence.root_cause_line("driver")
    if line is None and _OF_GPU.search(evidence.last_words):
        line = evidence.context_line("driver") or _reported_by_tool(evidence)
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    kernels = "no kernel image" in line.text or "not compatible" in line.text
    broken = "Driver/library" in line.text or "unsupported display" in line.text
    headline = "the driver is too old for this PyTorch's CUDA"
    steps: tuple[str, ...] = (
        "install a PyTorch built for the node's CUDA (nvidia-smi there shows the highest it takes)",
        "or load a module that brings one (see module avail; --module of hpclaunch sbatch)",
    )
    if kernels:
        headline = "this PyTorch has no code for this GPU"
    elif broken:
        headline = "the driver on the node and its libraries are of two versions"
        steps = ("tell your site's support: the node must be restarted or its driver loaded anew",
                 *_elsewhere(evidence, host))  # fmt: skip
    return Cause(headline, steps, (line,), rank, host)


def _reported_by_tool(evidence: RunEvidence) -> Clue | None:
    """Return what nvidia-smi or NVML said of a driver that its library does not fit."""
    lines = (line for line in evidence.matching_lines("driver") if "Driver/library" in line.text)
    return next((line for line in lines if not evidence.log.went_on(line)), None)


def fault(evidence: RunEvidence) -> Cause | None:
    """A CUDA operation failed, with none of the reasons above."""
    line = evidence.root_cause_line("gpu_fault")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    steps = (
        "CUDA_LAUNCH_BLOCKING=1 in the job makes the traceback name the operation",
        "an index outside its table is the usual reason (tokens beyond the embedding)",
        advice.logs(evidence, rank),
    )
    headline = line.text.removeprefix("what():").strip()
    failed = evidence.context_line("device_assertion") or evidence.root_cause_line(
        "device_assertion"
    )
    return Cause(headline, steps, (failed, line) if failed else (line,), rank, host)
