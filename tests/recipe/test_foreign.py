"""Other tools' files given as a recipe: what they are is said, and what does the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load

FSDP = """\
distributed_type: FSDP
fsdp_config:
  fsdp_offload_params: false
  fsdp_sharding_strategy: FULL_SHARD
  fsdp_state_dict_type: SHARDED_STATE_DICT
"""
ZERO3 = """\
compute_environment: LOCAL_MACHINE
distributed_type: DEEPSPEED
deepspeed_config: {zero_stage: 3, offload_param_device: none}
num_machines: 2
num_processes: 16
"""
FSDP2 = "fsdp_config: {fsdp_version: 2, fsdp_reshard_after_forward: false}\nnum_processes: 8\n"
DDP = "distributed_type: MULTI_GPU\nnum_machines: 1\nnum_processes: 4\n"
DEEPSPEED = (
    '{"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}},'
    ' "train_micro_batch_size_per_gpu": "auto"}'
)
AXOLOTL = "base_model: Qwen/Qwen3-8B\ndatasets: [{path: x}]\nmicro_batch_size: 1\n"
FACTORY = "stage: sft\nmodel_name_or_path: Qwen/Qwen3-8B\nfinetuning_type: lora\n"
TRL = "model_name_or_path: Qwen/Qwen3-8B\ndataset_name: trl-lib/Capybara\n"
TORCHTUNE = "tokenizer: {_component_: x}\nmodel: {_component_: y}\ncheckpointer: {}\n"
ARGUMENTS = "learning_rate: 1.0e-5\nnum_train_epochs: 3\n"


@pytest.mark.parametrize(
    ("text", "what", "instead"),
    [
        (FSDP, "accelerate config for FSDP", "RECIPE --nodes N --gpus N --sharding full"),
        (FSDP2, "accelerate config for FSDP", "--sharding grad"),
        (
            FSDP.replace("FULL_SHARD", "HYBRID_SHARD").replace("false", "true"),
            "accelerate config for FSDP",
            "--sharding hybrid --offload",
        ),
        (ZERO3, "for DeepSpeed ZeRO-3", "RECIPE --nodes 2 --gpus 8 --sharding full"),
        (DDP, "an accelerate config", "--nodes 1 --gpus 4 --sharding none"),
        (DEEPSPEED, r"a DeepSpeed config \(ZeRO-2\)", "--sharding grad --offload"),
        (AXOLOTL, "a config of axolotl", "llama3-8b-lora.yaml --model Qwen/Qwen3-8B"),
        (FACTORY, "a config of LLaMA-Factory", "--model Qwen/Qwen3-8B"),
        (TRL, "a config of TRL", "--model Qwen/Qwen3-8B --dataset trl-lib/Capybara"),
        (TORCHTUNE, "a config of torchtune", "hpclaunch recipes cp llama3-8b-lora"),
        (ARGUMENTS, "a list of TrainingArguments", "under 'training:'"),
        ("#!/bin/bash\n#SBATCH --nodes=2\nsrun x\n", "a script", "hpclaunch sbatch --nodes 2"),
    ],
)
@pytest.mark.parametrize("name", ["given.yaml", "given.json", "given"])
def test_it_is_said_what_it_is(
    tmp_path: Path, text: str, what: str, instead: str, name: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(UserError, match=f"{what}.* and no recipe") as caught:
        load(str(file))
    assert instead in caught.value.fix
    assert str(file) in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "name: x\nmodel: {name: 'builtin:tiny-llama'}\nlearning_rate: 1\nnum_train_epochs: 2\n",
        "name: x\ndata: {name: y}\nfsdp_config: {}\n",
    ],
)
def test_a_recipe_with_a_misplaced_key_is_still_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=r"unknown key|is missing"):
        load(str(tmp_path / "r.yaml"))
