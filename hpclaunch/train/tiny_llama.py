"""`builtin:tiny-llama`: a small Llama that comes with the package, and the program that made it.

`python -m hpclaunch.train.tiny_llama FOLDER` pretrains it anew, in half a minute on one core: the
same numbers on the same machine, and nearly the same on another. Where its text or `Size` changes,
`tiny_llama_model/` must be made again, and its checksum in the tests with it.

It has read a few pages about clusters and fine-tuning, and knows the turns of a chat without ever
having seen a question answered: it writes words, and answers nothing. Fine-tuning adds that.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError, nearest
from hpclaunch.shipped import shipped

NAMES = ("builtin:tiny-llama",)
BOS, EOS, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"
HEADER, HEADER_END, TURN_END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
SPECIAL = (BOS, EOS, PAD, HEADER, HEADER_END, TURN_END)

TEMPLATE = (
    "{{ bos_token }}{% set turns = messages %}{% if tools %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
    "{% if messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] | trim + '\\n\\n' }}{% set turns = messages[1:] %}{% endif %}"
    "{{ 'Functions that may be called:' }}"
    "{% for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '<|eot_id|>' }}{% endif %}"
    "{% for message in turns %}"
    "{{ '<|start_header_id|>' + ('ipython' if message['role'] == 'tool' else message['role'])"
    " + '<|end_header_id|>\\n\\n' + message['content'] | default('', true) | trim }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ {'name': call['function']['name'], 'parameters': call['function']['arguments']}"
    " | tojson }}{% endfor %}"
    "{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
"""Writes a conversation as Llama 3 Instruct does, and tools and their calls much as Llama 3.1."""


@dataclass(frozen=True)
class Size:
    """Shape of the model and length of its pretraining."""

    vocabulary: int = 1024
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    feed_forward: int = 384
    positions: int = 512
    steps: int = 350
    batch: int = 8
    length: int = 128
    learning_rate: float = 6e-3
    seed: int = 7


def folder_of(name: str = NAMES[0]) -> Path:
    """Return the folder of a builtin model, which comes with the package.

    Raises UserError for a name that is none.
    """
    if name not in NAMES:
        raise UserError(f"no model called '{name}'", nearest(name, NAMES))
    return shipped("train", "tiny_llama_model")


def passages() -> list[str]:
    """Return the packaged text: the pages, and the answers without their questions."""
    folder = shipped("recipe", "data")
    pages = folder.joinpath("pages.txt").read_text("utf-8").split("\n\n")
    rows = folder.joinpath("cluster-questions.train.jsonl").read_text("utf-8").splitlines()
    answers = [turn["content"] for row in rows for turn in json.loads(row)["messages"][1:]]
    texts = [" ".join(page.split()) for page in pages] + list(dict.fromkeys(answers))
    return [text for text in texts if text]


def build(folder: Path, size: Size) -> float:
    """Train tokenizer and model, save both in `folder`; return the last loss (nats a token).

    Weights are saved in bfloat16, half the size; a training loads them in the recipe's type.
    """
    import torch

    texts = passages()
    tokenizer = build_tokenizer(texts, size)
    model = untrained(tokenizer, size)
    loss = _pretrain(model, tokenizer, texts, size)
    model.generation_config.eos_token_id = [
        tokenizer.convert_tokens_to_ids(EOS),
        tokenizer.convert_tokens_to_ids(TURN_END),
    ]
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss


def untrained(tokenizer: Any, size: Size) -> Any:
    """Return the model as it is before it has read anything, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(size.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads // 2,
        max_position_embeddings=size.positions,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).to(torch.float32)


def build_tokenizer(texts: list[str], size: Size) -> Any:
    """Return a byte-level BPE tokenizer learnt from `texts`, with Llama 3's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, "system user assistant\n\n"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=TURN_END,
        pad_token=PAD,
        additional_special_tokens=[EOS, HEADER, HEADER_END],
        model_max_length=size.positions,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def pieces(texts: list[str]) -> list[str]:
    """Cut long texts into stretches of two sentences."""
    found = []
    for text in texts:
        sentences = re.split(r"(?<=[.!?]) ", text)
        if len(sentences) <= 3:
            found.append(text)
        else:
            found += [" ".join(sentences[i : i + 2]) for i in range(0, len(sentences), 2)]
    return found


def documents(tokenizer: Any, texts: list[str], seed: int) -> Iterator[list[int]]:
    """Return documents to read, as token ids, without end.

    Most are a few words and the passage they stand in, which teaches to look back at what was
    said; others a passage alone, or a chat whose answer has nothing to do with its question.
    """
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    passages = [(text.split(), encode(text)) for text in pieces(texts)]
    user, assistant = (encode(f"{HEADER}{role}{HEADER_END}\n\n") for role in ("user", "assistant"))
    bos, eos, turn_end = tokenizer.convert_tokens_to_ids([BOS, EOS, TURN_END])
    while True:
        order = chance.sample(passages, len(passages))
        for (words, ids), (_, others) in zip(order, reversed(order), strict=True):
            kind = chance.random()
            if kind < 0.8:
                few = min(len(words), chance.randint(2, 5))
                places = sorted(chance.sample(range(len(words)), few))
                keys = " ".join(words[place].strip(".,:?") for place in places)
                yield [bos, *encode(keys + "\n\n"), *ids, eos]
            elif kind < 0.9:
                yield [bos, *ids, eos]
            else:
                yield [bos, *user, *others, turn_end, *assistant, *ids, turn_end]


def _pretrain(model: Any, tokenizer: Any, texts: list[str], size: Size) -> float:
    """Let the model read; return the loss at the end (nats a token)."""
    import torch

    read = documents(tokenizer, texts, size.seed)
    tokens = (token for document in read for token in document)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=size.learning_rate, weight_decay=0.01, betas=(0.9, 0.95)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, size.learning_rate, total_steps=size.steps, pct_start=0.1
    )
    model.train()
    loss = 0.0
    for _ in range(size.steps):
        rows = [[next(tokens) for _ in range(size.length)] for _ in range(size.batch)]
        batch = torch.tensor(rows)
        output = model(input_ids=batch, labels=batch)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss = float(output.loss.detach())
    return loss


def main(arguments: list[str]) -> int:
    """Build the model in the folder named by the one argument; return the exit code."""
    import torch

    if len(arguments) != 1:
        print("usage: python -m hpclaunch.train.tiny_llama FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # the order of sums is part of the result
    print(f"loss {build(folder, Size()):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
