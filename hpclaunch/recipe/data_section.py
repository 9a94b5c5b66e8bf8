"""The recipe's section `data`: one dataset, or several."""

from typing import Literal

from hpclaunch.recipe.section import Count, Name, PositiveInt, Section, Share, Weight

Format = Literal[
    "auto", "messages", "prompt_completion", "text", "alpaca", "preference", "unpaired",
    "prompt",
]  # fmt: skip
"""Of rows."""


class DataSource(Section, frozen=True, kw_only=True):
    """One of several datasets to train on: an entry of `data.sources`."""

    name: Name
    """As `data.name`."""
    weight: Weight = 1.0
    """How often an epoch takes each of its rows: 1 once, 2 twice, 0.5 half of them, drawn by
    `data.seed`."""
    subset: str | None = None
    """Configuration name of a dataset that has several."""
    revision: str | None = None
    """Hub commit, tag or branch of the dataset."""
    format: Format = "auto"
    """Shape of its rows."""
    split: str = "train"
    """Split to train on, as `data.split`."""
    limit: PositiveInt | None = None
    """Use only its first so many rows."""


class Data(Section, frozen=True, kw_only=True):
    """What to train on: one dataset by `name`, or several by `sources`."""

    name: str = ""
    """Hub id, a local file (jsonl, json, csv, tsv, parquet, arrow), a folder of them or of
    `save_to_disk`, or `builtin:...`."""
    sources: list[DataSource] = []
    """Several datasets instead of one, each with its own weight, format, split and limit; their
    rows are mixed by `seed`."""
    subset: str | None = None
    """Configuration name of a dataset that has several."""
    revision: str | None = None
    """Hub commit, tag or branch of the dataset."""
    format: Format = "auto"
    """Shape of a row; auto reads it off the column names. preference: chosen and rejected, with a
    prompt or beginning with the same one (dpo, reward). unpaired: prompt, completion and a label
    that is true or false (kto). prompt: a prompt, a text or messages, and any columns for the
    reward functions (grpo)."""
    split: str = "train"
    """Split to train on; slices (`train[:5%]`) and sums (`train+test`) are understood."""
    validation: str | None = None
    """A local file or folder to validate on, instead of a split."""
    validation_split: str | None = None
    """Split of the same dataset to validate on."""
    validation_fraction: Share | None = None
    """Share of the training rows that is cut off to validate on, drawn by `seed`; a row that stands
    twice in the data is on one side alone."""
    seed: Count = 42
    """Decides which rows `validation_fraction` cuts off and how `sources` are mixed, whatever
    training.seed is."""
    limit: PositiveInt | None = None
    """Use only the first so many training samples."""
    special_tokens: list[str] = []
    """Tokens added to the tokenizer; their embeddings are trained too."""

    @property
    def title(self) -> str:
        """What the data is called in messages: its name, or the names of all."""
        return self.name or " + ".join(source.name for source in self.sources)
