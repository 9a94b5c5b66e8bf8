"""`python -m tests.train.inference_peak FOLDER WHAT BATCH TOKENS NEW`: what a stage's model takes.

Prints the bytes of memory at the peak beyond those of the libraries, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil


def main(folder: Path, what: str, batch: int, tokens: int, new: int) -> None:
    from hpclaunch.train.process import peak_resident_bytes
    from hpclaunch.train.stages.inputs import Weights
    from hpclaunch.train.stages.models import import_libraries, load_model

    import_libraries()
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    adapter = folder / "adapter"
    weights = Weights("m", str(folder), None, adapter if adapter.is_dir() else None, "")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    before = psutil.Process().memory_info().rss
    model = load_model(weights, 1)
    ids = list(range(5, 5 + tokens))
    if what == "writing":
        from hpclaunch.train.stages.generate import write_batch

        settings = SimpleNamespace(chat=False, temperature=0.0, max_new_tokens=new)
        model.generation_config.eos_token_id = None
        model.generation_config.min_new_tokens = new
        text = tokenizer.decode(ids)
        write_batch(model, tokenizer, [text] * batch, settings)
        tokens = len(tokenizer(text)["input_ids"])
    else:
        scorer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)
        requests = [(("a", str(n)), [n, *ids[2:]], ids[-1:]) for n in range(batch)]
        scorer._loglikelihood_tokens(requests, disable_tqdm=True)
        tokens -= 1
    used = peak_resident_bytes() - before
    print(json.dumps({"bytes": used, "libraries": before, "tokens": tokens}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
