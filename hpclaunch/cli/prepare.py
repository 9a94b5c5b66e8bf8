"""`hpclaunch prepare`: model and data fetched, rows tokenized and packed, before the job runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hpclaunch.cli import complete, options
from hpclaunch.cli.help import Command


@click.command(
    cls=Command,
    examples=[
        ("All that a job does before its first step", "hpclaunch prepare llama3-8b-lora"),
        (
            "Your own data, packed to another length",
            "hpclaunch prepare llama3-8b-lora --dataset my.jsonl training.max_length=8192",
        ),
        ("The 4-bit weights, too", "hpclaunch prepare llama3-70b-qlora --quantize"),
    ],
)
@options.recipe_and_changes
@options.grouped(recipe=options.RecipeOptions)
@click.option(
    "--site", shell_complete=complete.sites, help="Site profile; by default the cluster's own."
)
@click.option(
    "--venv",
    type=click.Path(path_type=Path),
    help="Python environment of the jobs; by default the one hpclaunch runs from.",
)
@click.option(
    "--quantize",
    is_flag=True,
    help="Make and keep the 4-bit weights of QLoRA, too, on this machine's CPU.",
)
def prepare(
    arguments: tuple[str, ...],
    recipe: options.RecipeOptions,
    site: str | None,
    venv: Path | None,
    quantize: bool,
) -> int:
    """Fetch, tokenize and pack ahead of a job.

    Model and data go into the hub's cache. The rows are checked, tokenized and packed as the job
    would do it, and kept by content: every start with the same data, tokenizer, template, length
    and versions reads them. Nothing of it needs a GPU. Without --quantize the first QLoRA job with
    sharded loading makes the 4-bit weights, and keeps them.
    """
    from hpclaunch.cli.invocation import recipe_and_overrides
    from hpclaunch.cli.resources import changes
    from hpclaunch.fetch.download import environment_of
    from hpclaunch.launch.draft import python_environment, site_here
    from hpclaunch.launch.prepare_ahead import prepare_ahead
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import load
    from hpclaunch.site.load import load_site

    reference, overrides = recipe_and_overrides(arguments)
    flags = changes(recipe, options.ShardingOptions()).flags(overrides)
    resolved = load(reference or library.DEFAULT, overrides, flags)
    profile = load_site(site or site_here("sbatch"))
    environment = environment_of(os.environ, profile.environment)
    python = python_environment(venv).path
    return prepare_ahead(resolved, python, environment, quantize=quantize)
