"""What a run reports while it trains and at its end: curves, scores of checkpoints, messages."""

from typing import Annotated, Literal

import msgspec

from hpclaunch.recipe.section import Name, PositiveInt, Section


class Wandb(Section, frozen=True, kw_only=True):
    """Weights & Biases."""

    enabled: bool = False
    project: str | None = None
    entity: str | None = None
    mode: Literal["online", "offline"] = "offline"
    """offline writes into the run folder; `wandb sync` sends it later from a login node."""


class Mlflow(Section, frozen=True, kw_only=True):
    """MLflow."""

    enabled: bool = False
    experiment: str | None = None
    uri: str | None = None
    """Tracking server or store; by default a store in the run folder, `metrics/mlruns`. Credentials
    come from MLflow's own files or variables, never from here."""


class Trackio(Section, frozen=True, kw_only=True):
    """Trackio."""

    enabled: bool = False
    project: str | None = None
    space: str | None = None
    """Space of the hub that shows it; without one it stays in the run folder."""


class Tracking(Section, frozen=True, kw_only=True):
    """Where curves go."""

    tensorboard: bool = True
    wandb: Wandb = Wandb()
    mlflow: Mlflow = Mlflow()
    trackio: Trackio = Trackio()


class Notify(Section, frozen=True, kw_only=True):
    """Who is told when the run ends, fails or goes back into the queue."""

    mail: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.+-]+@[A-Za-z0-9.-]+\Z")] | None = None
    """Address that Slurm writes to, unless --mail-user and --mail-type say otherwise."""
    webhook: bool = False
    """POST the run's state as JSON to the address in `~/.config/hpclaunch/webhook` (mode 0600)."""


class Evaluate(Section, frozen=True, kw_only=True):
    """Scores of checkpoints while training goes on: each a batch job of its own."""

    every: Literal["checkpoint"] | None = None
    """checkpoint: each new checkpoint, unless three evaluations of the run have not ended yet."""
    tasks: list[Name] = []
    """Tasks, groups or tags of lm-evaluation-harness."""
    tasks_dir: Name | None = None
    """Folder with task files of your own."""
    limit: PositiveInt | None = None
    """Only the first so many rows of each task."""
    gpus: PositiveInt = 1
    """GPUs of an evaluation, each with a copy of the model."""
    time: Name | None = None
    """Time limit of an evaluation; by default the training's."""
