"""A stage's source, loaded to be run: the model, with its adapter where there is one."""

from __future__ import annotations

from typing import Any

from hpclaunch.train import phases
from hpclaunch.train.hub import explain
from hpclaunch.train.process import large_imports
from hpclaunch.train.stages.inputs import Weights


def import_libraries() -> None:
    """Import Transformers and PEFT, quiet, with their progress bars told as phases."""
    with large_imports():
        import peft  # noqa: F401
        from transformers.utils import logging

    from hpclaunch.train.progress_bars import report_progress_bars

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    report_progress_bars()


def load_tokenizer(weights: Weights) -> Any:
    """Return the tokenizer. Raises UserError where it cannot be had."""
    from transformers import AutoTokenizer

    with explain("tokenizer of", weights.tokenizer):
        revision = weights.revision if weights.tokenizer == weights.model else None
        return AutoTokenizer.from_pretrained(
            weights.tokenizer, revision=revision, trust_remote_code=False
        )


def load_model(weights: Weights, tokens: int, device: str = "cpu", dtype: Any = "auto") -> Any:
    """Return the model, ready to be run, with embeddings for `tokens` tokens at least.

    `device`: `cpu`, `gpu` for all GPUs of this process, or one as `cuda:1`. `dtype`: by default
    that of the files. Raises UserError where it cannot be had.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": dtype}
    if device != "cpu":
        options["device_map"] = "auto" if device == "gpu" else {"": device}
    phases.begin(f"loading {weights.model}")
    with explain("model", weights.model):
        model = AutoModelForCausalLM.from_pretrained(
            weights.model,
            revision=weights.revision,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    if weights.adapter is not None:
        from peft import PeftModel

        if tokens > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(tokens, mean_resizing=False)
        phases.begin(f"loading the adapter of {weights.name}")
        model = PeftModel.from_pretrained(model, str(weights.adapter))
    return model.eval()
