"""What a reward model makes of two answers: loaded by plain PEFT and Transformers."""

from __future__ import annotations

from typing import Any

from hpclaunch.chat.preference import answer_rows
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder


def scores(folder: RunFolder, recipe: Recipe) -> str:
    """Return the scores of the answers of the data's first row, the better one first."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from hpclaunch.recipe.mixture import parts_of
    from hpclaunch.train import reward_head
    from hpclaunch.train.data import load_rows

    tokenizer = AutoTokenizer.from_pretrained(folder.final, trust_remote_code=False)
    chat = bool(tokenizer.chat_template)
    part = parts_of(recipe.data)[0].data
    rows = load_rows(part, recipe.objective, chat=chat, check=False)
    options: dict[str, Any] = {"dtype": getattr(torch, recipe.model.dtype), "num_labels": 1}
    kind = AutoModelForSequenceClassification
    if (folder.final / "adapter_config.json").is_file():
        from peft import AutoPeftModelForSequenceClassification

        kind = AutoPeftModelForSequenceClassification
    with reward_head.quiet(scores=True):  # an adapter's head comes after the base's
        model = kind.from_pretrained(folder.final, trust_remote_code=False, **options).eval()
    lines = []
    for name, row in zip(("chosen", "rejected"), answer_rows(rows.train[0]), strict=True):
        whole = row["prompt"] + row["completion"]
        text = (
            whole
            if isinstance(whole, str)
            else tokenizer.apply_chat_template(whole, tokenize=False)
        )
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=isinstance(whole, str))
        with torch.no_grad():
            score = float(model(input_ids=ids["input_ids"]).logits[0, 0])
        lines.append(f"{name}\n    {score:.3f}")
    return "\n".join(lines)
