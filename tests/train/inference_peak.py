"""`python -m tests.train.inference_peak FOLDER WHAT BATCH TOKENS NEW`: what a stage's model takes.

Prints the bytes of tensors at the peak, as PyTorch's own allocator counted them, as JSON: what is
resident varies with the kernel's reclaim of file pages and with malloc's holes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main(folder: Path, what: str, batch: int, tokens: int, new: int) -> None:
    from hpclaunch.train.stages.inputs import Weights
    from hpclaunch.train.stages.models import import_libraries, load_model

    import_libraries()
    import torch
    from torch.profiler import ProfilerActivity, profile
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    adapter = folder / "adapter"
    weights = Weights("m", str(folder), None, adapter if adapter.is_dir() else None, "")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = list(range(5, 5 + tokens))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        model = load_model(weights, 1)
        if what == "writing":
            tokens = write(model, tokenizer, ids, batch, new)
        else:
            tokens = score(model, tokenizer, ids, batch)
    print(json.dumps({"bytes": peak_and_end(recorded)[0], "tokens": tokens}))


def write(model: Any, tokenizer: Any, ids: list[int], batch: int, new: int) -> int:
    """Write `new` tokens after prompts of unlike lengths; return the longest one's tokens."""
    from hpclaunch.train.stages.generate import write_batch

    settings = SimpleNamespace(chat=False, temperature=0.0, max_new_tokens=new)
    model.generation_config.eos_token_id = None
    model.generation_config.min_new_tokens = new
    texts = [tokenizer.decode(ids[each:]) for each in range(batch)]
    write_batch(model, tokenizer, texts, settings)
    return max(len(each) for each in tokenizer(texts)["input_ids"])


def score(model: Any, tokenizer: Any, ids: list[int], batch: int) -> int:
    """Score `batch` requests as lm-evaluation-harness does; return a row's tokens."""
    from lm_eval.models.huggingface import HFLM

    scorer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)
    requests = [(("a", str(n)), [n, *ids[2:]], ids[-1:]) for n in range(batch)]
    scorer._loglikelihood_tokens(requests, disable_tqdm=True)
    return len(ids) - 1


def peak_and_end(recorded: Any) -> tuple[int, int]:
    """Return the most bytes that were allocated at once, and those that were in the end.

    Blocks from before are left out, and so are mapped files, of which only the end is recorded.
    """
    events = allocations(recorded.profiler.kineto_results.experimental_event_tree())
    blocks: dict[int, int] = {}
    held = most = 0
    for each in sorted(events, key=lambda each: each.start_time_ns):
        block, size = each.extra_fields.ptr, each.extra_fields.alloc_size
        if size > 0:
            blocks[block] = size
            held += size
        else:
            held -= blocks.pop(block, 0)
        most = max(most, held)
    return most, held


def allocations(events: Any) -> Iterator[Any]:
    """Yield the allocator's events, with those within others."""
    for each in events:
        if hasattr(each.extra_fields, "alloc_size"):
            yield each
        yield from allocations(each.children)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
