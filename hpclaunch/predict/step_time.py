"""How long a training step takes: the GPUs' work, and what of the network does not hide in it.

The GPUs' work is that of `work.py`, traffic the bytes that FSDP gathers. What cannot be read off a
data sheet (which share of a peak is reached) is an assumption until a run of this kind was
measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpclaunch.predict.kernels import Pass, gathered_bytes, passes, token_flops
from hpclaunch.predict.memory import TrainingStep, trained

PRODUCTS = 0.82
"""Share of the bf16 peak that matrix products of wide models and long micro-batches reach."""
NARROW = 750
"""Width of a model at which half of that is reached. Fitted, like the one before, to what others
published: three LoRA steps of Qwen-1.8B on one A100, and three runs of 70B on several. Steps of 7B
and 14B and a run on H100 were held against them afterwards (tests/predict/published.py)."""
SHORT = 150
"""Tokens of a micro-batch at which half of that is reached; an estimate."""
MOVING = 0.85
"""Share of a memory's data-sheet rate that kernels reach which do little else; an estimate."""
LAUNCH = 16e-6
"""Seconds to launch a kernel from Python, forth or back: published LoRA steps of Qwen-1.8B take the
same second at 256 and at 512 tokens. A fast CPU takes less."""
LAUNCHING = 0.1
"""Share of the computing above which waiting for launches is told, and learnt from."""
LINK_SHARE = 0.75
"""Share of a link's data-sheet rate that NCCL's rings reach; an estimate."""

HOST_LINK, HOST_MEMORY = 20.0, 150.0
"""GB/s that a GPU gets from its host's memory over sixteen lanes of PCIe 4 (31.5 by its sheet), and
that the processors of a node get from theirs: assumptions, used for what is offloaded."""


@dataclass(frozen=True)
class Hardware:
    """What the work runs on. Rates in 10^9 bytes a second (GB/s) and 10^12 operations (TFLOP/s).

    Those of links are what collectives reach, measured or by `reached`.
    """

    nodes: int
    per_node: int
    """GPUs of a node."""
    tflops: float
    """Dense bf16 peak of a GPU."""
    memory_gb_s: float
    """Of a GPU's memory."""
    link_gb_s: float | None
    """Between a GPU and the others of its node, one way; None: not known."""
    network_gb_s: float | None
    """Between a node and the others, one way; None: not known."""
    pace: float = 1.0
    """How many times as fast as predicted the GPUs work, where a run has shown it."""
    launch: float = LAUNCH
    """Seconds to launch a kernel."""
    short: float = SHORT
    """Tokens of a micro-batch at which half of a rate is reached."""
    fitted: bool = False
    """The rates are those of whole steps: nothing but operations counts, nor a model's width."""
    overlap: float = 1.0
    """Share of what moves while a GPU computes that hides behind it; CPUs wait for all of it."""


@dataclass(frozen=True)
class Step:
    """Seconds of one optimizer step, by part."""

    compute: float
    launching: float
    """Of these, in which a GPU waits for its kernels to be launched: micro-batches are small."""
    communication: float | None
    """Not hidden behind compute; None: the network's rate is not known."""
    optimizer: float
    tokens: int
    """Of all GPUs, in the step."""
    flops: float
    """Of one GPU, recomputation not counted: what a model FLOPs utilization goes by."""
    gpus: int
    peak: float
    """FLOP/s of one GPU."""

    @property
    def seconds(self) -> float | None:
        """Of the whole step."""
        if self.communication is None:
            return None
        return self.compute + self.communication + self.optimizer

    @property
    def waits_for_launches(self) -> bool:
        """Whether GPUs wait so long for kernels to be launched that it is worth telling."""
        return self.launching > LAUNCHING * self.compute

    @property
    def tokens_per_gpu(self) -> float | None:
        """Tokens a second and GPU."""
        return None if self.seconds is None else self.tokens / self.gpus / self.seconds

    @property
    def of_peak(self) -> float | None:
        """Share of the GPU's bf16 peak that the model's own FLOPs take."""
        return None if self.seconds is None else self.flops / self.seconds / self.peak


def reached(rate: float) -> float:
    """Return what collectives reach of a link's data-sheet rate."""
    return LINK_SHARE * rate


def step(load: TrainingStep, replicas: int, machine: Hardware) -> Step:
    """Return the time of a step. `replicas`: copies of the model."""
    forth, back = passes(load)
    spread = _dequantize(load, machine)
    ahead, idle = _work_seconds(forth, load, machine, spread)
    spread *= 2 if load.checkpointing else 1
    behind, idle_behind = _work_seconds(back, load, machine, spread)
    gather = _gather_seconds(load, replicas, machine)
    reduce = _reduce_seconds(load, replicas, machine)
    if load.offload and gather is not None and reduce is not None:
        gather += gathered_bytes(load) / load.shards / (HOST_LINK * 1e9)
        reduce += 4 * trained(load) / load.shards / (HOST_LINK * 1e9)
    exposed: float | None = None
    if gather is not None and reduce is not None:
        once = 0.0 if load.sharding == "grad" else gather
        # A full fine-tune shares its gradients out every time, an adapter's wait for the last.
        every, last = (reduce, 0.0) if load.method == "full" else (0.0, reduce)
        share = machine.overlap
        exposed = load.accumulation * (
            _exposed(gather, ahead, share) + _exposed(once + every, behind, share)
        )
        exposed += _exposed(last, max(0.0, behind - once), share)
    return Step(
        compute=load.accumulation * (ahead + behind),
        launching=load.accumulation * (idle + idle_behind),
        communication=exposed,
        optimizer=_optimizer_seconds(load, machine),
        tokens=load.tokens * load.accumulation * machine.nodes * machine.per_node,
        flops=load.accumulation * load.tokens * token_flops(load),
        gpus=machine.nodes * machine.per_node,
        peak=machine.tflops * 1e12,
    )


def _work_seconds(
    work: Pass, load: TrainingStep, machine: Hardware, spread: float
) -> tuple[float, float]:
    """Seconds of a pass in which nothing waits for the network; and of these, for launches.

    `spread`: those that writing out 4-bit weights takes.
    """
    peak = machine.tflops * 1e12 * load.tokens / (load.tokens + machine.short)
    if machine.fitted:
        return (work.flops + work.narrow_flops) / peak + spread, 0.0
    wide = load.model.width / (load.model.width + NARROW)
    moving = (work.moved / (machine.memory_gb_s * 1e9) + spread) / MOVING
    busy = (work.flops / (peak * PRODUCTS * wide) + moving) / machine.pace
    taken = max(busy, work.launches * machine.launch)
    return taken, taken - busy


def _exposed(moving: float, computing: float, overlap: float) -> float:
    """Seconds of a transfer that do not hide behind the work of the meantime."""
    return moving - overlap * min(moving, computing)


def _optimizer_seconds(load: TrainingStep, machine: Hardware) -> float:
    """Seconds to read weight, gradient and both moments and write three of them, in 32 bits."""
    held = 1 if load.sharding == "none" else load.shards
    rate = HOST_MEMORY / machine.per_node if load.offload else machine.memory_gb_s
    return 28 * trained(load) / held / (rate * 1e9)


def _dequantize(load: TrainingStep, machine: Hardware) -> float:
    """Seconds to write all 4-bit weights out once: half a byte read, two written."""
    if load.method != "qlora":
        return 0.0
    return 2.5 * load.model.quantized / (machine.memory_gb_s * 1e9)


def _gather_seconds(load: TrainingStep, replicas: int, machine: Hardware) -> float | None:
    """Seconds to gather all weights once, None where a rate is not known."""
    if load.sharding == "none" or load.shards == 1:
        return 0.0
    moved = gathered_bytes(load) * (load.shards - 1) / load.shards
    return _over(moved, machine, across=load.shards > machine.per_node)


def _reduce_seconds(load: TrainingStep, replicas: int, machine: Hardware) -> float | None:
    """Seconds to share out the gradients once, in 16 bits, over shards and then over copies."""
    own = 2.0 * trained(load)
    seconds: float | None = 0.0
    if load.sharding != "none" and load.shards > 1:
        seconds = _over(
            own * (load.shards - 1) / load.shards, machine, across=load.shards > machine.per_node
        )
    if replicas > 1 and seconds is not None:
        # A ring sums in one round and hands out in another. All GPUs of a node send their shards.
        twice = 2 * own * (replicas - 1) / replicas
        more = _over(twice, machine, across=machine.nodes > 1)
        seconds = None if more is None else seconds + more
    return seconds


def _over(moved: float, machine: Hardware, *, across: bool) -> float | None:
    """Seconds for bytes over the slowest link of a ring."""
    rates = [machine.link_gb_s] if machine.per_node > 1 else []
    rates += [machine.network_gb_s] if across else []
    if any(rate is None for rate in rates):
        return None
    slowest = min((rate for rate in rates if rate is not None), default=None)
    return 0.0 if slowest is None else moved / (slowest * 1e9)
