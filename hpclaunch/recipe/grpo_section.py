"""The recipe's section `method.grpo`: what rewards completions, and where they are generated."""

from __future__ import annotations

from hpclaunch.recipe.section import Name, PositiveInt, Section


class GrpoServer(Section, frozen=True, kw_only=True):
    """A vLLM server on a node of its own, which writes the completions."""

    enabled: bool = False
    """Ask for one node more, the last of the allocation, and start `trl vllm-serve` on it. Off,
    the ranks generate with Transformers."""
    tensor_parallel_size: PositiveInt | None = None
    """GPUs of the node that share the model; none means all of them."""
    max_model_len: PositiveInt | None = None
    """Tokens of prompt and completion that the server has room for; none means what the recipe's
    two lengths add up to."""
    start_minutes: PositiveInt = 20
    """How long the server may take to load the model before the job ends."""


class Grpo(Section, frozen=True, kw_only=True):
    """What GRPO needs beside GRPOConfig's own fields, which stand in `training`."""

    rewards: list[Name] = []
    """The reward functions. `rewards.py:length` is the function `length` of a file, which is copied
    into the run folder; `trl.rewards:think_format_reward`, one of a package of the job's
    environment. TRL calls each with keywords: prompts, completions, completion_ids, the data's
    other columns, trainer_state, log_extra, log_metric; it returns a number for each completion, or
    None where it does not apply. `training.reward_weights` weighs them."""
    max_prompt_length: PositiveInt = 1024
    """Rows with a longer prompt, in tokens, are left out."""
    server: GrpoServer = GrpoServer()
