"""`python -m hpclaunch.train.simulation.simulate`: a training step's peak memory, without a GPU.

Reads a request as JSON from stdin and writes the result as JSON to stdout. The model is built
from its config on the meta device, adapted by PEFT, sharded by accelerate's own code and stepped
over tensors that have a shape and no values, while PyTorch's FSDP memory tracker counts what a GPU
would hold. The optimizer's state is there before, as in every step but the first. The output head
runs TRL's fused loss with what its kernels allocate on a GPU.

The peak of each phase of a step grows by the same amount with each further layer, so two models of
few layers give the one of many.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hpclaunch.train.process import hide_bitsandbytes, run_program
from hpclaunch.train.simulation.depth import TOTAL, Cut, Parts, highest
from hpclaunch.train.simulation.few_layers import count, model_cut
from hpclaunch.train.simulation.model import sharded_model
from hpclaunch.train.simulation.refusals import (
    REFUSED,
    UNSUPPORTED,
    RefusedModel,
    UnsupportedModel,
    in_one_line,
    refusing,
)

PROGRESS = "progress: "
"""What a line on stderr begins with that says which share of the work is done, from 0 to 1."""
_PHASES_OF_A_STEP = 2
"""Phases of a layer: forward and backward."""


def simulate(request: dict[str, Any], on_progress: Callable[[float], None]) -> dict[str, Any]:
    """Return the bytes by part at the peak of a step; `parameters` and how many are `trained`.

    `config`: a config.json; `method`: full, lora, qlora; `lora`: PEFT's fields; `shards`: ranks
    that share a copy; `micro_batch_size`, `seq_len` (tokens); `sharding`: full, grad, none;
    `activation_checkpointing`, of every layer or each `every_n_layers`; `double_quant` and
    `adapter_dtype`, of QLoRA; `fused_lora` and `recomputed_mlps`, of adapters on weights in 16
    bits; `attention`, which matters if it is eager, and whether it has a `mask`. `layers`: how many
    to simulate, instead of the two numbers that give the whole model. `on_progress`: called with
    the share of the work that is done.
    """
    from hpclaunch.train.simulation.token_loops import folded

    if request.get("layers"):
        return {"bytes": _whole(request, int(request["layers"]), on_progress)}
    with refusing("it cannot be built"):
        parameters, trained = count(request)
    depth, cut = model_cut(request)
    with contextlib.suppress(Exception):  # what fails here fails in the step, with its reason
        request = folded(request, depth if cut is None else cut.few)
    held: Parts | None = None
    if cut is not None:
        # A config may name layers by their numbers, and not take fewer: then all are simulated.
        with contextlib.suppress(Exception):
            few, more = _steps(request, (cut.few, cut.more), cut, on_progress)
            held = highest(few, more, cut, depth)
    held = held or _whole(request, depth, on_progress)
    return {"bytes": held, "parameters": parameters, "trained": trained}


def _whole(request: dict[str, Any], depth: int, on_progress: Callable[[float], None]) -> Parts:
    """Return the bytes by part at the peak of the model cut to `depth` layers."""
    (peaks,) = _steps(request, (depth,), Cut(depth, depth, depth, 0), on_progress)
    return max(peaks.values(), key=lambda parts: parts[TOTAL])


def _steps(
    request: dict[str, Any], depths: Sequence[int], cut: Cut, on_progress: Callable[[float], None]
) -> list[dict[str, Parts]]:
    """Simulate models cut to several numbers of layers, one after the other."""
    done, all_phases = 0, _PHASES_OF_A_STEP * sum(depths)

    def on_phase() -> None:
        nonlocal done
        # The tracker hangs hooks on the graph that refer back to it. A real step has no such
        # circles: there a layer's tensors are freed at once.
        gc.collect()
        done += 1
        on_progress(min(1.0, done / all_phases))

    return [_step(request, layers, cut, on_phase) for layers in depths]


def _step(
    request: dict[str, Any], layers: int, cut: Cut, on_phase: Callable[[], None]
) -> dict[str, Parts]:
    """Simulate the model cut to `layers`; bytes by part at the peak of each phase of a step."""
    from hpclaunch.train.simulation.peaks import PlainPhases, ShardedPhases, mark_phases
    from hpclaunch.train.simulation.stand_ins import StateHolder

    with sharded_model(request, layers) as model:
        optimizer = StateHolder(model, request.get("optimizer_bytes"))
        if request["sharding"] == "none":
            tracker: Any = PlainPhases()
            tracker.track_external(model, optimizer)
        else:
            tracker = ShardedPhases(model, optimizer)
            tracker.track_inputs(())
        with contextlib.suppress(LookupError):
            mark_phases(model, layers, cut, tracker, on_phase)
        with tracker, _only_new_garbage():
            tracker.begin_phases()
            optimizer.step()
            _train(model, optimizer, tracker, request)
        tower = model.tower_bytes // int(request["shards"])
    return {
        phase: {part: int(size) for part, size in parts.items() if size}
        | {TOTAL: int(parts[TOTAL]) + tower}
        for phase, parts in tracker.peaks.items()
    }


@contextlib.contextmanager
def _only_new_garbage() -> Iterator[None]:
    """Let Python look for garbage among what is made meanwhile: a hundredth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _train(model: Any, optimizer: Any, tracker: Any, request: dict[str, Any]) -> None:
    import torch

    shape = (int(request["micro_batch_size"]), int(request["seq_len"]))
    ids = torch.zeros(shape, dtype=torch.long)
    # FSDP's units cast for themselves; without them accelerate has autocast do it.
    with torch.autocast("cpu", torch.bfloat16, enabled=request["sharding"] == "none"):
        output = model(input_ids=ids)
    if not output.logits.requires_grad:  # as of Reformer with adapters: its own backward passes by
        raise RefusedModel("nothing can be learnt: its output does not depend on what is trained")
    output.logits.sum().backward()  # of log-probabilities: see FusedHead
    tracker.phase = "optimizer"
    optimizer.step()
    optimizer.zero_grad()


def main() -> int:
    """Simulate the request on stdin."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    hide_bitsandbytes()  # its layers have stand-ins here
    request = json.load(sys.stdin)
    import torch

    torch.set_num_threads(1)  # nothing is computed: others would only wait for work

    def on_progress(share: float) -> None:
        print(f"{PROGRESS}{share:.3f}", file=sys.stderr, flush=True)

    try:
        answer = simulate(request, on_progress)
    except RefusedModel as refused:
        print(f"{REFUSED}{refused}", file=sys.stderr)
        return 2
    except ModuleNotFoundError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, UnsupportedModel) else in_one_line(error)
        print(f"{UNSUPPORTED}{reason}", file=sys.stderr)
        return 2
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    run_program(main)
