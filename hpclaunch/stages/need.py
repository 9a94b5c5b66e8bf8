"""What a stage takes of memory and time, before it is started; what cannot fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.plan.node_memory import granted_bytes
from hpclaunch.predict.estimate import SAFE, usable
from hpclaunch.predict.inference import InferenceMemory, on_gpu
from hpclaunch.predict.memory import GIB
from hpclaunch.predict.step_time import Hardware
from hpclaunch.render.job import Job
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import Site

GPUS_OF_A_NODE = 8
"""GPUs that a node has, where the site does not say."""


@frozen
class Device:
    """The GPU that a stage gets; CPUs where it gets none."""

    usable_bytes: int | None = None
    """Memory of one GPU that a plan fills; None: the GPU type is not known, or it is CPUs."""
    hardware: Hardware | None = None
    """None where times are not predicted."""
    processes: int = 1
    """Of all nodes, each with a copy."""
    gpus: int = 1
    """That share the layers of a copy."""


Facts = list[tuple[str, str]]


def _no_facts(device: Device) -> Facts:
    return []


@frozen
class Need:
    """What one copy of a stage takes."""

    gpu: InferenceMemory | None = None
    """On GPUs, without what CUDA takes; None where it uses none."""
    shared: bool = False
    """The GPUs of a node can share the layers of one copy."""
    host_bytes: int = 0
    """Memory of its node beside a GPU that it must have."""
    cpu_bytes: int = 0
    """The same where it runs on CPUs."""
    more_bytes: int = 0
    """Memory of its node beyond that, for what is left out where there is less: a comparison."""
    facts: Callable[[Device], Facts] = _no_facts
    """Further lines on a device: throughput, the longest request."""
    assumed: tuple[str, ...] = ()
    smaller: str = ""
    """What would make it fit, beside other GPUs."""


@frozen
class Unknown:
    """A stage of which nothing is predicted, and why."""

    why: str


@frozen
class Prediction:
    """A stage's need, held against what its job gets."""

    stage: str
    need: Need
    gpus: int = 0
    """GPUs of a node that share a copy; 0 on CPUs."""
    memory: InferenceMemory | None = None
    """Of the fullest GPU; None on CPUs."""
    usable_bytes: int | None = None
    host_bytes: int = 0
    """Of a node, all its processes together."""
    granted_bytes: int | None = None
    """What the job gets of a node's memory; None: not known."""
    facts: Facts = field(default_factory=list)
    nodes: int = 1
    """Of the job; only the GPUs of one node share a copy."""

    @property
    def fits(self) -> bool | None:
        """Whether it fits GPU and node; None: neither is known to be too small, nor the GPU."""
        if self.granted_bytes is not None and self.host_bytes > self.granted_bytes:
            return False
        if self.memory is None:
            return None if self.granted_bytes is None else True
        if self.usable_bytes is None:
            return None
        return self.memory.total <= self.usable_bytes


def gpu_name(job_gpu: str | None, site: Site) -> str | None:
    """Return the GPU type: as requested, or the only one that the site has."""
    return job_gpu or (next(iter(site.gpus)) if len(site.gpus) == 1 else None)


def predict_stage(stage: str, need: Need | Unknown, job: Job) -> Prediction | Unknown:
    """Return what a drafted job's stage takes, against what the job gets."""
    if isinstance(need, Unknown):
        return need
    plan = job.plan
    granted = granted_bytes(plan.options, plan.launch.node_memory_mib)
    if plan.launch.mode == "local":
        granted = None
    parallel = bool(plan.launch.stage and plan.launch.stage.parallel)
    copies = plan.processes_per_node if parallel else 1
    if plan.device == "cpu" or need.gpu is None:
        device = Device(processes=plan.nodes * copies)
        return Prediction(
            stage, need, 0, None, None, copies * need.cpu_bytes, granted, need.facts(device)
        )
    shared = plan.processes_per_node if need.shared and not parallel else 1
    device = device_of(gpu_name(plan.resources.gpu, plan.site), plan.nodes * copies)
    device = replace(device, gpus=shared)
    return Prediction(
        stage,
        need,
        shared,
        on_gpu(need.gpu, shared),
        device.usable_bytes,
        copies * need.host_bytes,
        granted,
        need.facts(device),
        nodes=plan.nodes,
    )


def device_of(name: str | None, processes: int = 1) -> Device:
    """Return a GPU by its type's name; None: of an unknown type."""
    gpu = gpus().get(name or "")
    if gpu is None:
        return Device(processes=processes)
    hardware = None
    if gpu.bf16_tflops:
        hardware = Hardware(
            nodes=1,
            gpus_per_node=1,
            tflops=gpu.bf16_tflops,
            memory_gb_s=gpu.bandwidth_gb_s,
            link_gb_s=None,
            network_gb_s=None,
            multiprocessors=gpu.multiprocessors,
        )
    return Device(int(SAFE * usable(gpu)), hardware, processes)


def gpus_needed(need: Need | Unknown, gpu: str | None, most: int | None) -> int:
    """Return how many GPUs of a node must share a copy: 1 where that is not known.

    `most`: GPUs of a node; what does not fit them either gets 1, and is refused later.
    """
    room = device_of(gpu).usable_bytes
    if isinstance(need, Unknown) or need.gpu is None or not need.shared or room is None:
        return 1
    numbers = range(1, (most or GPUS_OF_A_NODE) + 1)
    return next((each for each in numbers if on_gpu(need.gpu, each).total <= room), 1)


def must_share(need: Need | Unknown, gpu: str | None, gpus: int | None) -> bool:
    """Return whether one GPU cannot hold a copy and `gpus` of a node can together."""
    room = device_of(gpu).usable_bytes
    if isinstance(need, Unknown) or need.gpu is None or not need.shared or room is None:
        return False
    return on_gpu(need.gpu).total > room >= on_gpu(need.gpu, gpus or 1).total


def memory_to_ask(need: Need | Unknown, node_bytes: int | None, *, on_cpus: bool) -> str | None:
    """Return what a stage asks Slurm for per node where nobody said: `12G`; None: nothing.

    Only where Slurm said how much its nodes have: some clusters do not count memory.
    """
    if isinstance(need, Unknown) or node_bytes is None or not on_cpus or not need.cpu_bytes:
        return None
    least, whole = -(-need.cpu_bytes // GIB), -(-(need.cpu_bytes + need.more_bytes) // GIB)
    most = node_bytes // GIB
    return f"{max(least, min(whole, most))}G"


def refuse_too_large(prediction: Prediction | Unknown) -> None:
    """Refuse a stage that its GPU or its node's memory cannot hold. Raises UserError."""
    if isinstance(prediction, Unknown) or prediction.fits is not False:
        return
    granted, need = prediction.granted_bytes, prediction.need
    if granted is not None and prediction.host_bytes > granted:
        raise UserError(
            f"{prediction.stage} does not fit: it needs {_gib(prediction.host_bytes)} of a node's "
            f"memory, and the job gets {_gib(granted)}",
            f"--mem {-(-prediction.host_bytes // GIB)}G",
        )
    assert prediction.memory is not None and prediction.usable_bytes is not None  # noqa: S101 - mypy
    fixes = ["a --gpu with more memory"]
    room = prediction.usable_bytes
    if need.shared and need.gpu is not None:
        found = next((n for n in range(2, 17) if on_gpu(need.gpu, n).total <= room), None)
        one_node = "--nodes 1 " if prediction.nodes > 1 else ""
        fixes = [f"{one_node}--gpus {found}", *fixes] if found else fixes
    fixes += [need.smaller] if need.smaller else []
    raise UserError(
        f"{prediction.stage} does not fit: it needs {_gib(prediction.memory.total)} per GPU of "
        f"{_gib(room)} usable",
        ", or ".join(fixes),
    )


def _gib(number: int) -> str:
    return f"{number / GIB:.1f} GiB"
