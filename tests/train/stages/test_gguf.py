"""GGUF files, judged by llama.cpp itself: the same tokens and probabilities as Transformers."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.errors import UserError
from hpclaunch.run.stage_settings import GGUF_MODEL_TYPES
from tests.train.conftest import question

PROMPTS = ("What colour is box 3?", "Box 12 is", "naïve façade, 東京 42\n\tx")
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama 3 rope, padded rows": ("llama", {"rope_parameters": LLAMA3_ROPE, "extra_rows": 16}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2, biases": ("qwen2", {"extra_rows": 16}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    # Its sixth layer attends to all tokens; the others see fewer than the prompts have.
    "gemma 3": (
        "gemma3_text",
        {"head_dim": 32, "query_pre_attn_scalar": 32, "num_hidden_layers": 7, "sliding_window": 4},
    ),
}


def save_model(folder: Path, kind: str, fields: dict[str, Any]) -> Path:
    """Save a random model of an architecture, in float32, with a byte-level tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from hpclaunch.train.tiny_llama import Size, build_tokenizer

    texts = [" ".join(question(n)) for n in range(64)]
    tokenizer = build_tokenizer(texts, Size(vocabulary=400))
    rows = len(tokenizer) + fields.pop("extra_rows", 0)
    config = AutoConfig.for_model(
        kind,
        **SIZES | fields,
        vocab_size=rows,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.1 * noise if parameter.ndim == 1 else 0.2 * noise)
        # llama.cpp writes no probabilities where a text ends or has a part of a character.
        parts = [n for n in range(len(tokenizer)) if "\ufffd" in tokenizer.decode([n])]
        head = model.get_output_embeddings().weight
        head[[*tokenizer.all_special_ids, *parts, *range(len(tokenizer), rows)]] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def llama_cpp(path: Path) -> Iterator[Any]:
    """Load a GGUF file into llama.cpp, which serves it on loopback."""
    xllamacpp = pytest.importorskip("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 256
    parameters.n_parallel = 1
    parameters.verbosity = -1
    parameters.warmup = False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    off = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.flash_attn_type = off  # it rounds to 16 bits
    yield xllamacpp.Server(parameters)


def tokens_of(server: Any, text: str) -> list[int]:
    data = json.dumps({"content": text, "add_special": True}).encode()
    request = urllib.request.Request(  # noqa: S310 - it is on loopback
        f"{server.listening_address}/tokenize", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - it is on loopback
        found: list[int] = json.load(answer)["tokens"]
    return found


def next_tokens(server: Any, prompt: str) -> dict[int, float]:
    """Return llama.cpp's most probable next tokens, with their log probabilities."""
    done = server.handle_completions(
        {"prompt": prompt, "n_predict": 1, "n_probs": 10, "samplers": ["top_k"], "top_k": 1}
    )
    first = done["choices"][0]["logprobs"]["content"][0]
    return {each["id"]: each["logprob"] for each in first["top_logprobs"]}


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_reads_the_same_model(tmp_path: Path, name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hpclaunch.train.gguf_format.export import export

    kind, fields = MODELS[name]
    folder = save_model(tmp_path / "model", kind, dict(fields))
    most = 1e-2 if "gemma" in kind else 2e-3  # llama.cpp looks GELU up in a table of 16 bits
    export(folder, tmp_path / "model.gguf", "f32", "model")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with llama_cpp(tmp_path / "model.gguf") as server:
        for prompt in PROMPTS:
            ids = tokenizer(prompt)["input_ids"]
            assert tokens_of(server, prompt) == ids
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            expected = logits.log_softmax(-1)
            found = next_tokens(server, prompt)
            assert max(found, key=found.__getitem__) == int(expected.argmax())
            for token, value in found.items():
                assert value == pytest.approx(float(expected[token]), abs=most)


@pytest.mark.parametrize(
    ("to", "most"), [("f16", 1e-3), ("bf16", 2e-2), ("q8_0", 2e-2), ("q4_0", 3e-1)]
)
def test_what_is_read_back_is_what_was_written(tmp_path: Path, to: str, most: float) -> None:
    from hpclaunch.train.gguf_format.export import export, read_back
    from hpclaunch.train.stages.tensor_files import TensorFiles

    folder = save_model(tmp_path / "model", "llama", {})
    values = export(folder, tmp_path / "model.gguf", to, "model")
    files = TensorFiles(folder)
    state = read_back(folder, tmp_path / "model.gguf", to)
    assert set(state) == set(files.files)
    largest = max(float((state[name] - files.tensor(name)).abs().max()) for name in state)
    assert 0 < largest < most
    assert values["bytes"] == (tmp_path / "model.gguf").stat().st_size
    with llama_cpp(tmp_path / "model.gguf") as server:
        assert next_tokens(server, PROMPTS[0])


def test_the_architectures_are_those_that_are_offered() -> None:
    from hpclaunch.train.gguf_format.parameters import ARCHITECTURES

    assert set(ARCHITECTURES) == set(GGUF_MODEL_TYPES)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model_type": "mamba"}, "'mamba' cannot be written"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized already"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
    ],
)
def test_what_llama_cpp_would_read_wrongly_is_refused(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    from hpclaunch.train.gguf_format.export import export

    folder = save_model(tmp_path / "model", "llama", {})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(UserError, match=words):
        export(folder, tmp_path / "model.gguf", "f32", "model")
    assert not (tmp_path / "model.gguf").exists()


def test_a_way_of_splitting_texts_without_a_name_is_refused() -> None:
    from hpclaunch.train.gguf_format.tokenizer import pre_tokenizer

    with pytest.raises(UserError, match=r"convert_hf_to_gguf\.py"):
        pre_tokenizer({"pre_tokenizer": {"type": "Whitespace"}})
    split = {"type": "Split", "pattern": {"Regex": "other"}, "behavior": "Isolated"}
    steps = [split, {"type": "ByteLevel", "use_regex": False}]
    with pytest.raises(UserError, match="Split"):
        pre_tokenizer({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}})
