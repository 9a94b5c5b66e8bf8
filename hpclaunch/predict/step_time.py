"""How long a training step takes: compute, exposed communication, optimizer.

Compute is that of `kernels.py`; communication the bytes that FSDP all-gathers and reduces. What no
data sheet says (which share of a peak is reached) is an assumption until a run was measured.
"""

from __future__ import annotations

from hpclaunch.frozen import frozen
from hpclaunch.predict import context
from hpclaunch.predict.host_rates import ASSUMED, HostRates
from hpclaunch.predict.kernels import Pass, gathered_bytes, passes, token_flops
from hpclaunch.predict.training_step import TrainingStep

MATMUL_SHARE = 0.78
"""Share of the bf16 peak that matrix products of wide models and long micro-batches reach."""
HALF_RATE_HIDDEN = 500
"""Hidden size at which half of that is reached. This and the constants before and after were
chosen so that the published runs are met best: five of 70B models, LoRA steps of Qwen-1.8B, 7B and
14B on one A100 (tests/predict/published.py)."""
HALF_RATE_TOKENS = 25
"""Tokens of a micro-batch at which half of that is reached."""
MEMORY_SHARE = 0.85
"""Share of a memory's data-sheet rate that kernels reach which do little else; an estimate."""
ELEMENTWISE_PER_SM, CAST_PER_SM = 26.5, 16.0
"""GB/s that a multiprocessor moves at most in PyTorch's elementwise kernels, and in those that also
cast: it has only so many bytes under way. Measured by themselves on an H200 (docs/evidence/gpu.md:
2.8 to 4.2 and 1.9 to 2.1 TB/s over 132); GPUs with slower memory never reach it."""
DEQUANTIZED_PER_SM = 6.6e9
"""4-bit values a second that a multiprocessor writes out at most (the same page: 868 billion)."""
NARROW_S = 15e-6
"""Seconds that a product with a matrix of a few columns takes beside moving its ends: few blocks,
each with a long loop. The same page: 25 and 43 us where the memory's rate gives 8 and 29."""
LAUNCH_S = 16.7e-6
"""Seconds to launch a kernel from Python, forward or backward: published LoRA steps of Qwen-1.8B
take the same second at 256 and at 512 tokens. A fast CPU takes less."""
LAUNCH_BOUND = 0.1
"""Share of the compute time from which waiting for launches is reported, and fitted to runs."""
LINK_SHARE = 0.75
"""Share of a link's data-sheet rate that NCCL's rings reach; an estimate."""


@frozen
class Hardware:
    """What the step runs on.

    Rates of links are what collectives reach, measured or by `reached`.
    """

    nodes: int
    gpus_per_node: int
    tflops: float
    """Dense bf16 peak of a GPU in TFLOP/s."""
    memory_gb_s: float
    """Bandwidth of a GPU's memory in GB/s."""
    link_gb_s: float | None
    """Between a GPU and the others of its node, one way, in GB/s; None: not known."""
    network_gb_s: float | None
    """Between a node and the others, one way, in GB/s; None: not known."""
    speed_factor: float = 1.0
    """Ratio of the GPUs' speed to the predicted one, where a run has shown it."""
    launch_s: float = LAUNCH_S
    """Seconds to launch a kernel."""
    half_rate_tokens: float = HALF_RATE_TOKENS
    """Tokens of a micro-batch at which half of a rate is reached."""
    rates_of_whole_steps: bool = False
    """`tflops` is what whole steps reached: neither hidden size nor memory rate counts."""
    multiprocessors: int | None = None
    """Of a GPU; None: not known, and no bound to what they move."""
    host: HostRates = ASSUMED
    """Between the GPUs and the memory of a node, for what is offloaded."""
    node_memory_bytes: int | None = None
    """Memory of a node that a job gets; None: not known."""
    overlap: float = 1.0
    """Share of communication that hides behind the compute of its time; on CPUs none does."""


@frozen
class StepTime:
    """Seconds of one optimizer step, by part."""

    compute: float
    """Seconds, those that wait for launches among them."""
    launch_wait: float
    """Seconds of `compute` in which a GPU waits for its kernels to be launched."""
    exposed_communication: float | None
    """Seconds of communication that no compute hides; None: the network's rate is not known."""
    optimizer: float
    """Seconds."""
    tokens: int
    """Tokens of all GPUs in the step."""
    flops: float
    """FLOPs of one GPU in the step, recomputation not counted."""
    gpus: int
    peak_flops: float
    """FLOP/s of one GPU's bf16 peak."""
    generation: float = 0.0
    """Seconds of `compute` in which completions are written, at least."""

    @property
    def seconds(self) -> float | None:
        """Seconds of the whole step; None: the network's rate is not known."""
        if self.exposed_communication is None:
            return None
        return self.compute + self.exposed_communication + self.optimizer

    @property
    def waits_for_launches(self) -> bool:
        """Whether GPUs wait long enough for kernel launches to report it."""
        return self.launch_wait > LAUNCH_BOUND * self.compute

    @property
    def tokens_per_second_per_gpu(self) -> float | None:
        """Throughput of a GPU."""
        return None if self.seconds is None else self.tokens / self.gpus / self.seconds

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilization: share of the GPU's bf16 peak, recomputation not counted."""
        return None if self.seconds is None else self.flops / self.seconds / self.peak_flops


def reached(rate: float) -> float:
    """Return what collectives reach of a link's data-sheet rate."""
    return LINK_SHARE * rate


def step_time(training: TrainingStep, replicas: int, machine: Hardware) -> StepTime:
    """Return the time of a step. `replicas`: copies of the model."""
    forward_pass, backward_pass = passes(training)
    dequantize = _dequantize_seconds(training, machine)
    forward, forward_wait = pass_seconds(forward_pass, training, machine, dequantize)
    dequantize *= 1 + training.recomputed_share
    backward, backward_wait = pass_seconds(backward_pass, training, machine, dequantize)
    more = training.objective.forward_passes
    gather = _gather_seconds(training, replicas, machine)
    reduce = _reduce_seconds(training, replicas, machine)
    if training.offload and gather is not None and reduce is not None:
        gather += gathered_bytes(training) / training.shards / (machine.host.link_gb_s * 1e9)
        reduced = training.optimizer.parameter_bytes * training.trained_parameters / training.shards
        reduce += reduced / (machine.host.link_gb_s * 1e9)
    ring = _ring_seconds(training, machine)
    exposed: float | None = None
    if gather is not None and reduce is not None and ring is not None:
        once = 0.0 if training.sharding == "grad" else gather
        # A full fine-tune reduces gradients in every micro-batch, an adapter's in the last one.
        every, last = (reduce, 0.0) if training.method == "full" else (0.0, reduce)
        share = machine.overlap
        exposed = training.gradient_accumulation_steps * (
            (1 + more) * _exposed(gather, forward, share) + _exposed(once + every, backward, share)
        )
        exposed += _exposed(last, max(0.0, backward - once), share)
        exposed += training.gradient_accumulation_steps * ring
    generation, gathering = _generation_seconds(training, forward_pass.launches, gather, machine)
    if exposed is not None:
        exposed = None if gathering is None else exposed + gathering
    return StepTime(
        generation=generation,
        compute=generation
        + training.gradient_accumulation_steps * ((1 + more) * forward + backward),
        launch_wait=training.gradient_accumulation_steps
        * ((1 + more) * forward_wait + backward_wait),
        exposed_communication=exposed,
        optimizer=_optimizer_seconds(training, machine),
        tokens=training.tokens
        * training.gradient_accumulation_steps
        * machine.nodes
        * machine.gpus_per_node,
        flops=training.gradient_accumulation_steps * training.tokens * token_flops(training),
        gpus=machine.nodes * machine.gpus_per_node,
        peak_flops=machine.tflops * 1e12,
    )


def _generation_seconds(
    training: TrainingStep, launches: float, gather: float | None, machine: Hardware
) -> tuple[float, float | None]:
    """Return the seconds of a step in which completions are written, all-gathers apart.

    Every token reads all weights once and launches a forward pass's kernels. Completions are of
    full length; the time of Python between tokens, and the keys and values that are read, are not
    counted. Full shards are all-gathered for every token; None: at a rate that is not known.
    """
    work = training.objective
    tokens = work.generated_tokens * work.generations_per_step
    if not tokens:
        return 0.0, 0.0
    weights = 2.0 * training.model.active_parameters
    reading = weights / (MEMORY_SHARE * machine.memory_gb_s * 1e9)
    reading += _dequantize_seconds(training, machine)
    a_token = max(reading / machine.speed_factor, launches * machine.launch_s)
    if gather is None:
        return tokens * a_token, None
    gathers = work.generations_per_step if training.sharding == "grad" else tokens
    return tokens * a_token, gathers * gather


def pass_seconds(
    work: Pass, training: TrainingStep, machine: Hardware, dequantize: float
) -> tuple[float, float]:
    """Return the seconds of a pass without communication; and of these, the wait for launches.

    `dequantize`: seconds that it takes to write out 4-bit weights.
    """
    peak = machine.tflops * 1e12 * training.tokens / (training.tokens + machine.half_rate_tokens)
    if machine.rates_of_whole_steps:
        return (work.flops + work.narrow_flops) / peak + dequantize, 0.0
    hidden = training.model.hidden_size
    wide = hidden / (hidden + HALF_RATE_HIDDEN)
    moving = (work.moved - work.casts) / _memory_rate(machine, ELEMENTWISE_PER_SM)
    moving += work.casts / _memory_rate(machine, CAST_PER_SM) + work.narrow_products * NARROW_S
    product = work.flops / (peak * MATMUL_SHARE * wide)
    busy = (product + moving + dequantize) / machine.speed_factor
    seconds = max(busy, work.launches * machine.launch_s)
    return seconds, seconds - busy


def _memory_rate(machine: Hardware, per_multiprocessor: float) -> float:
    """Return the bytes a second that kernels move which do little else."""
    rate = MEMORY_SHARE * machine.memory_gb_s
    if machine.multiprocessors is not None:
        rate = min(rate, per_multiprocessor * machine.multiprocessors)
    return rate * 1e9


def _exposed(moving: float, computing: float, overlap: float) -> float:
    """Return the seconds of a transfer that the compute of its time does not hide."""
    return moving - overlap * min(moving, computing)


def _optimizer_seconds(training: TrainingStep, machine: Hardware) -> float:
    """Return the seconds of the optimizer: it is bound by memory."""
    held = 1 if training.sharding == "none" else training.shards
    rate = machine.memory_gb_s
    if training.offload:
        rate = machine.host.memory_gb_s / machine.gpus_per_node
    return training.optimizer.moved_bytes * training.trained_parameters / held / (rate * 1e9)


def _dequantize_seconds(training: TrainingStep, machine: Hardware) -> float:
    """Return the seconds to write all 4-bit weights out once: half a byte read, two written."""
    if training.method != "qlora":
        return 0.0
    values = training.model.quantized_parameters
    seconds = 2.5 * values / (MEMORY_SHARE * machine.memory_gb_s * 1e9)
    if machine.multiprocessors is not None:
        seconds = max(seconds, values / (DEQUANTIZED_PER_SM * machine.multiprocessors))
    return seconds


def _gather_seconds(training: TrainingStep, replicas: int, machine: Hardware) -> float | None:
    """Return the seconds of one all-gather of the model, None where a rate is not known."""
    if training.sharding == "none" or training.shards == 1:
        return 0.0
    moved = gathered_bytes(training) * (training.shards - 1) / training.shards
    return _over(moved, machine, across=training.shards > machine.gpus_per_node)


def _reduce_seconds(training: TrainingStep, replicas: int, machine: Hardware) -> float | None:
    """Return the seconds to reduce the gradients once, in bf16, over shards, then over copies."""
    own = 2.0 * training.trained_parameters
    seconds: float | None = 0.0
    if training.sharding != "none" and training.shards > 1:
        seconds = _over(
            own * (training.shards - 1) / training.shards,
            machine,
            across=training.shards > machine.gpus_per_node,
        )
    if replicas > 1 and seconds is not None:
        # A ring sums in one round and hands out in another. All GPUs of a node send their shards.
        twice = 2 * own * (replicas - 1) / replicas
        more = _over(twice, machine, across=machine.nodes > 1)
        seconds = None if more is None else seconds + more
    return seconds


def _ring_seconds(training: TrainingStep, machine: Hardware) -> float | None:
    """Return the seconds that a micro-batch's keys and values take between ranks of a sequence.

    None: a rate is not known. None of it is taken to hide behind compute, which is the most.
    """
    if training.context_parallel == 1:
        return 0.0
    across = training.context_parallel > machine.gpus_per_node
    return _over(context.ring_traffic(training), machine, across=across)


def _over(moved: float, machine: Hardware, *, across: bool) -> float | None:
    """Return the seconds for bytes over the slowest link of a ring; None: it is not known."""
    rates = [machine.link_gb_s] if machine.gpus_per_node > 1 else []
    rates += [machine.network_gb_s] if across else []
    if any(rate is None for rate in rates):
        return None
    slowest = min((rate for rate in rates if rate is not None), default=None)
    return 0.0 if slowest is None else moved / (slowest * 1e9)
