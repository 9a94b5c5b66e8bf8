"""`python -P -m hpclaunch.train.sample RUN`: what the model wrote before, and what it writes now.

With --next it ends with commands to try next, as `make demo` does.

From RUN/final by plain PEFT and Transformers, as whoever takes the folder away would load it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.failure import one_line
from hpclaunch.train.process import run_program
from hpclaunch.train.quiet import quieten

NEXT = """
Next:
  another question   {bin}/python -P -m hpclaunch.train.sample {run} --prompt "What is a node?"
  your own rows      {bin}/hpclaunch local data.name=rows.jsonl data.validation_split=null
  a plan for 70B     {bin}/hpclaunch plan llama3-70b-qlora --gpu a100_80 --nodes 1 --gpus 8
"""


def sample(folder: RunFolder, prompt: str | None, tokens: int) -> str:
    """Return prompt, the untuned model's text and the tuned one's, greedily written.

    Where the prompt is a row of the data, the answer that stands there comes last, as expected.
    `tokens` is the most that each may write. Raises UserError where there are no final weights.
    """
    if not any(folder.final.glob("*.safetensors")):
        raise UserError(f"{folder.root} has no final weights", "let the run end first")
    recipe = load(str(folder.recipe))
    if recipe.objective_spec.scores:
        from hpclaunch.train.scores import scores

        return scores(folder, recipe)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder.final, trust_remote_code=False)
    answer = ""
    if prompt is None:
        prompt, answer = first_row(recipe, bool(tokenizer.chat_template))
    before, after = both(folder, recipe, tokenizer, as_text(tokenizer, prompt), tokens)
    parts = {"prompt": prompt, "before": before, "after": after}
    if answer:
        parts["expected"] = answer
    return "\n".join(f"{name}\n{_indent(text)}" for name, text in parts.items())


def first_row(recipe: Recipe, chat: bool) -> tuple[str, str]:
    """Return prompt and answer of the first row to validate on, else of the first sample.

    The answer is empty where the row is plain text.
    """
    from hpclaunch.recipe.mixture import parts_of
    from hpclaunch.train.data import load_rows

    rows = load_rows(parts_of(recipe.data)[0].data, recipe.objective, chat=chat, check=False)
    row = (rows.train if rows.validation is None else rows.validation)[0]
    if "prompt" in row:
        return _content(row["prompt"]), _content(row.get("completion", ""))
    if "messages" in row:
        turns = row["messages"]
        place = next((n for n, turn in enumerate(turns) if turn["role"] == "user"), 0)
        return _content(turns[: place + 1]), _content(turns[place + 1 : place + 2])
    return " ".join(str(row["text"]).split()[:12]), ""


def _content(text: str | list[dict[str, str]]) -> str:
    """Return a text, or that of a conversation's last turn."""
    if isinstance(text, str):
        return text
    return str(text[-1].get("content", "")) if text else ""


def as_text(tokenizer: Any, prompt: str) -> str:
    """Write a prompt as the model was taught: as a turn of a chat, where it has a template."""
    if not tokenizer.chat_template:
        return prompt
    turns = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def both(
    folder: RunFolder, recipe: Recipe, tokenizer: Any, text: str, tokens: int
) -> tuple[str, str]:
    """Return the untuned and the tuned model's continuation of a text."""
    import torch
    from transformers import AutoModelForCausalLM

    from hpclaunch.train.model import source

    options: dict[str, Any] = {"dtype": getattr(torch, recipe.model.dtype)}
    if torch.cuda.is_available():
        options["device_map"] = "auto"  # a model that needs several GPUs gets them
    if (folder.final / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        model = AutoPeftModelForCausalLM.from_pretrained(
            folder.final, trust_remote_code=False, **options
        )
        after = write(model, tokenizer, text, tokens)
        with model.disable_adapter():
            return write(model, tokenizer, text, tokens), after
    where = source(recipe.model)
    untuned = AutoModelForCausalLM.from_pretrained(
        where.path, revision=where.revision, trust_remote_code=False, **options
    )
    before = write(untuned, tokenizer, text, tokens)
    del untuned
    tuned = AutoModelForCausalLM.from_pretrained(folder.final, trust_remote_code=False, **options)
    return before, write(tuned, tokenizer, text, tokens)


def write(model: Any, tokenizer: Any, text: str, tokens: int) -> str:
    """Return what a model writes after `text`, always the likeliest token: the same every time."""
    import torch

    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=not tokenizer.chat_template)
    inputs = {name: inputs[name].to(model.device) for name in ("input_ids", "attention_mask")}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model.eval()
    with torch.no_grad():
        output = model.generate(
            **inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=pad, use_cache=True
        )
    new = output[0][inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip()


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in (text or "(nothing)").splitlines())


def main(arguments: list[str]) -> int:
    """Parse the command line, print, give the exit code."""
    program = "python -P -m hpclaunch.train.sample"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("--prompt", help="what to ask; else a question from the data")
    parser.add_argument("--tokens", type=int, default=60, help="the most that is written (60)")
    parser.add_argument("--next", action="store_true", help="print what to try next, too")
    given = parser.parse_args(arguments)
    quieten()
    try:
        from hpclaunch.train.quiet import quieten_libraries

        quieten_libraries(first_rank=True)
        print(sample(RunFolder(given.run.absolute()), given.prompt, given.tokens))
        if given.next:
            print(NEXT.format(run=given.run, bin=os.path.relpath(Path(sys.executable).parent)))
    except UserError as error:
        print(f"hpclaunch: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
