"""Settings of each stage, typed: what stage.json holds under `settings`, with the stage's name.

A stage's definition in `hpclaunch.stages` and what it executes in `hpclaunch.train.stages` share
them. Unknown fields are refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Target = Literal["gguf", "int8", "int4", "nf4"]
"""Formats that `quantize` writes."""
GgufType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]
GGUF_MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
"""Model types, as config.json names them, that can be written as GGUF."""
Device = Literal["auto", "cpu", "gpu"]


class Settings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="stage"
):
    """Base of all stages' settings."""

    output: ClassVar[Literal["final", "results"]] = "results"
    """final: a model or adapter in RUN/final, beside RUN/results.json. results: that file alone."""

    @property
    def stage(self) -> str:
        """Name of the stage that they belong to."""
        return str(self.__struct_config__.tag)


class Merge(Settings, frozen=True, kw_only=True, tag="merge"):
    """An adapter and its base made one model."""

    output: ClassVar[Literal["final", "results"]] = "final"
    verify: bool = True
    """Hold the logits of base and adapter against those of the merged model."""


class Generate(Settings, frozen=True, kw_only=True, tag="generate"):
    """Text that a model writes."""

    prompts: tuple[str, ...]
    max_new_tokens: PositiveInt = 128
    device: Device = "auto"
    chat: bool = True
    """Put a prompt into the model's chat template where it has one."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    """0: always the likeliest token."""
    seed: int = 0
    batch: PositiveInt = 8
    """Prompts at once."""


class Quantize(Settings, frozen=True, kw_only=True, tag="quantize"):
    """A model in fewer bits."""

    output: ClassVar[Literal["final", "results"]] = "final"
    to: Target
    gguf_type: GgufType = "q8_0"
    """With `to: gguf`."""
    rows: PositiveInt = 256
    """Most rows of the run's data that int4 is calibrated with."""
    perplexity: bool = True
    """Measure the perplexity before and after on rows of the run's data."""


class Publish(Settings, frozen=True, kw_only=True, tag="publish"):
    """A model copied to where others get it, with a model card."""

    url: str
    """`hf://owner/name`, `s3://bucket/folder`, `file:///folder`."""
    private: bool = True
    """Of a new repository on the hub."""
    license: str = ""
    """Id of the license, for the card; '' says nothing of one."""
    replace: bool = False
    """Write over a model that is there already."""


class Eval(Settings, frozen=True, kw_only=True, tag="eval"):
    """A model's scores in tasks of lm-evaluation-harness."""

    tasks: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Names of tasks, groups or tags."""
    tasks_dir: str | None = None
    """Folder with task files of the user's own, beside those that come with the harness."""
    limit: PositiveInt | None = None
    """Only the first so many rows of each task: for a try."""
    fewshot: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Examples before each question; None: as the task says."""
    batch: PositiveInt = 8
    """Requests at once, on each GPU."""
    chat: bool = False
    """Put the questions into the model's chat template."""


class Best(Settings, frozen=True, kw_only=True, tag="best"):
    """The checkpoint of a run with the best score in a task."""

    output: ClassVar[Literal["final", "results"]] = "final"
    task: str
    """One that the run's checkpoints were evaluated with."""
    metric: str | None = None
    """One of its metrics; None: its first."""
    limit: PositiveInt | None = None
    """Of the evaluations that count: the first so many rows of the task."""
    evaluated_only: bool = False
    """Leave out checkpoints that have no score, in place of refusing."""


StageSettings = Eval | Best | Merge | Generate | Quantize | Publish
"""Every stage's: another stage adds its own here."""
