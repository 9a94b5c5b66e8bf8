"""`hpclaunch publish`: a model with its card, to the hub or a storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpclaunch.cli import complete, stage_options
from hpclaunch.cli.help import Command

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation


@click.command(
    cls=Command,
    examples=[
        ("To a private repository of the hub", "hpclaunch publish my-run hf://me/my-model"),
        ("To S3", "hpclaunch publish my-run s3://bucket/my-model"),
    ],
)
@click.argument("source", metavar="RUN|MODEL", shell_complete=complete.runs)
@click.argument("url")
@stage_options.stage_options
@stage_options.checkpoint
@click.option("--public", is_flag=True, help="Make a new repository of the hub public.")
@click.option("--license", "license_id", default="", help="Id of the license, for the card.")
@click.option("--replace", is_flag=True, help="Write over a model that is there already.")
@click.pass_obj
def publish(
    typed: Invocation,
    source: str,
    url: str,
    how: stage_options.StageOptions,
    checkpoint: str | None,
    public: bool,
    license_id: str,
    replace: bool,
) -> int:
    """Copy a model with its card to the hub or a storage.

    URL is hf://OWNER/NAME, s3://bucket/folder, gs://bucket/folder or file:///folder. The card says
    what the run's folder knows: base, data, method, versions, losses, GPU-hours, energy; and
    nothing else. Credentials come from the environment or the storage's own files.
    """
    from hpclaunch.cli.stage import known_source, start
    from hpclaunch.run.stage_settings import Publish

    settings = Publish(url=url, private=not public, license=license_id, replace=replace)
    return start(typed, settings, (known_source(source, checkpoint, gguf=True),), how)
