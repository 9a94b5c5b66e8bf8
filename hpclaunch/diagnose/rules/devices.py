"""GPUs that are busy, missing, given twice or too old, and what fails on them."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_INDEXED = re.compile(r"device-side assert|illegal memory|illegal address|unspecified")
_OF_KERNEL = re.compile(r"misaligned address|illegal instruction|invalid program counter")
"""What a kernel does that was compiled, or called, wrongly."""
_WATCHDOG = re.compile(r"^\[[EF]\d{3,4} .*terminated with exception: ")
_OF_DEVICE = re.compile(r"assert|CUBLAS_STATUS|unspecified launch|illegal")
_OUTSIDE = re.compile(r"out of bounds|srcIndex < |ind_dim_size|t < n_classes|cur_target < ")
"""How CUDA's kernels assert that an index lies within its table."""


_NEWER = (
    (re.compile(r"[Ff]lash"), "attn_implementation='sdpa' runs on older GPUs; FlashAttention 2 "
     "needs compute capability 8.0 (A100, A30, RTX 30) and more"),
    (re.compile(r"bf16"), "fp16 (with a loss scale) or fp32 in place of bf16, which needs compute "
     "capability 8.0 (A100, A30, RTX 30) and more"),
    (re.compile(r"fp8|float8|FP8|8\.9"), "bf16 in place of fp8, which needs compute capability 8.9 "
     "(L40S, H100) and more"),
)  # fmt: skip


_FIXED = re.compile(r"['\"]cuda:(\d+)['\"]|set_device\((?:device=)?(\d+)\)|gpu_id=(\d+)")
"""A GPU that the program names by its number."""


def fabric_manager(evidence: RunEvidence) -> Cause | None:
    """The GPUs of a node with NVSwitch wait for its fabric manager, which does not run."""
    multicast = evidence.root_cause_line("multicast") or evidence.nccl_line("multicast")
    if multicast is not None:
        rank, host = advice.who(evidence, multicast)
        advised = (
            "tell your site's support: the fabric manager, or the NVSwitches of the node; it must "
            "be started anew",
            "NCCL_NVLS_ENABLE=0 in the job goes on without NVLink SHARP",
            advice.elsewhere(evidence, host),
        )
        headline = f"NVLink SHARP does not work on the node: {multicast.text}"
        return Cause(headline, advised, (multicast,), rank, host)
    line = evidence.root_cause_line("fabric_manager")
    if line is None and re.search(r"cuda|CUDA|GPU", evidence.last_words):
        line = evidence.context_line("fabric_manager")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    steps = (
        "tell your site's support: nvidia-fabricmanager does not run on the node, or is of another "
        "version than the driver",
        advice.elsewhere(evidence, host),
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
        advice.elsewhere(evidence, host),
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
    fixed = _FIXED.search(evidence.last_words)
    if fixed:
        number = next(filter(None, fixed.groups()))
        headline = f"the program asks for GPU {number}, and fewer are visible to the rank"
        steps = ("let it take the rank's own: int(os.environ['LOCAL_RANK'])", *steps[1:])
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


def missing(evidence: RunEvidence) -> Cause | None:
    """A rank saw no GPU, or another number than was asked for."""
    line = evidence.root_cause_line("no_gpu")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    built = "not compiled with CUDA" in line.text or "NCCL built in" in line.text
    headline = "this PyTorch is built without CUDA" if built else f"no usable GPU: {line.text}"
    if "CUDA unknown error" in line.text:
        steps = (
            "see whether nvidia-smi lists the GPUs there, and whether nvidia_uvm is loaded "
            "(lsmod | grep nvidia_uvm): else tell your site's support",
            "a program must not change CUDA_VISIBLE_DEVICES after it used CUDA",
            advice.elsewhere(evidence, host),
        )
        return Cause(f"CUDA does not start on the node: {line.text}", steps, (line,), rank, host)
    nvml = (
        "NVML may not read the GPUs: see ls -l /dev/nvidia* on the node; tell your site's support",
    )
    container = ("in a container of Apptainer the driver is there with --nv alone",)
    steps = (
        ("install a PyTorch for CUDA in the job's environment, or name another by --venv",)
        if built
        else (
            "see that the job asks for GPUs (--gpus and --gpu of hpclaunch sbatch)",
            "see that CUDA_VISIBLE_DEVICES (of AMD's GPUs ROCR_ and HIP_VISIBLE_DEVICES) is not "
            "set in your shell's start-up files",
            *(nvml if evidence.matching_lines("nvml_refused") else ()),
            *(container if evidence.record.program else ()),
        )
    )
    return Cause(headline, steps, (line,), rank, host)


def too_old(evidence: RunEvidence) -> Cause | None:
    """A kernel or a number format needs a newer GPU than the rank has."""
    line = evidence.root_cause_line("old_gpu")
    if line is None:
        return None
    known = (step for pattern, step in _NEWER if pattern.search(line.text))
    step = next(known, "take a GPU type that has it, or switch the option off that asks for it")
    return advice.cause(evidence, line, f"the GPU is too old for what is asked: {line.text}", step)


def fault(evidence: RunEvidence) -> Cause | None:
    """A CUDA operation failed, with none of the reasons above."""
    line = evidence.root_cause_line("gpu_fault")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    steps: tuple[str, ...] = (
        "CUDA_LAUNCH_BLOCKING=1 in the job makes the traceback name the operation",
        *(["an index outside its table is the usual reason (tokens beyond the embedding)"]
          * (_INDEXED.search(line.text) is not None)),
        *(["kernels that are not PyTorch's own do this where they are given what they do not take: "
           "leave FlashAttention (attn_implementation='sdpa'), Liger or Triton kernels out"]
          * (_OF_KERNEL.search(line.text) is not None)),
        advice.logs(evidence, rank),
    )  # fmt: skip
    headline = _WATCHDOG.sub("", line.text.removeprefix("what():").strip())
    failed = evidence.context_line("device_assertion") or evidence.root_cause_line(
        "device_assertion"
    )
    if failed is None and _OF_DEVICE.search(line.text):  # HIP's kernels assert on stdout
        lines = evidence.matching_lines("device_assertion")
        failed = next((each for each in lines if evidence.rank_and_host(each)[0] == rank), None)
    if "NOT_INITIALIZED" in line.text:
        steps = ("most often the GPU's memory is full: a smaller batch, or shorter texts", *steps)
    if "access fault by GPU" in line.text:
        steps = ("AMD_SERIALIZE_KERNEL=3 in the job makes the traceback name the operation",
                 advice.logs(evidence, rank))  # fmt: skip
    if failed and "probability tensor" in failed.text:
        headline = f"the probabilities that are sampled from hold inf or nan: {headline}"
        steps = (
            "the model's output is no longer finite: see the loss before, a smaller learning rate, "
            "bf16 in place of fp16",
            advice.logs(evidence, rank),
        )
    if failed and _OUTSIDE.search(failed.text):
        headline = f"an index is outside its table: {headline}"
        steps = (
            "of an embedding: a token beyond the vocabulary, see model.resize_token_embeddings; of "
            "a loss: a label beyond the classes",
            "CUDA_LAUNCH_BLOCKING=1 in the job makes the traceback name the operation",
            advice.resume(evidence),
        )
    return Cause(headline, steps, (failed, line) if failed else (line,), rank, host)
