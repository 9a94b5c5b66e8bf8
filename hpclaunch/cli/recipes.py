"""`hpclaunch recipes`: list, show, copy, check."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hpclaunch.cli import complete, options
from hpclaunch.cli.help import Group
from hpclaunch.cli.text import print_json

_recipe = click.argument("recipe", shell_complete=complete.recipes)
_ready = click.argument("recipe", shell_complete=complete.ready_recipes)


@click.group(cls=Group, no_args_is_help=False)
def recipes() -> None:
    """List, show, copy and check recipes."""


@recipes.command(
    examples=[
        ("All ready recipes", "hpclaunch recipes ls"),
        ("For a script", "hpclaunch recipes ls --json"),
    ]
)
@options.as_json
def ls(as_json: bool) -> None:
    """List the ready recipes: on a terminal a line a model, in a pipe a line a recipe."""
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import load

    found = [load(name) for name in library.names()]
    if as_json:
        print_json([{"name": recipe.name, "description": recipe.description} for recipe in found])
        return
    from hpclaunch.cli.terminal import is_terminal

    rows = [(recipe.name, recipe.description) for recipe in found]
    if is_terminal(sys.stdout):
        rows = _by_model(rows)
    width = max(len(name) for name, _ in rows)
    for name, description in rows:
        print(f"{name:<{width}}  {description}")


def _by_model(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the rows with one line a model, in the order of its table."""
    from hpclaunch.recipe.families import published_models

    made = {name for model in published_models() for name in model.recipes}
    others = [row for row in rows if row[0] not in made]
    return others + [
        (
            f"{model.name}-{{{','.join(model.recipes.values())}}}",
            f"{model.title}{model.suffix}, {model.hub}{', gated' if model.gated else ''}",
        )
        for model in published_models()
    ]


@recipes.command(
    examples=[
        ("On the screen", "hpclaunch recipes cat llama3-8b-lora"),
        ("Into a file", "hpclaunch recipes cat llama3-8b-lora > mine.yaml"),
    ]
)
@_ready
def cat(recipe: str) -> None:
    """Print a ready recipe with its comments."""
    from hpclaunch.recipe import library

    print(library.text(recipe), end="")


@recipes.command(
    examples=[
        ("To llama3-8b-lora.yaml in this folder", "hpclaunch recipes cp llama3-8b-lora"),
        ("To another file", "hpclaunch recipes cp llama3-8b-lora mine.yaml"),
    ]
)
@_ready
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def cp(recipe: str, file: Path | None, force: bool) -> None:
    """Copy a ready recipe to FILE, by default RECIPE.yaml, to edit it."""
    from hpclaunch.errors import UserError
    from hpclaunch.recipe import library
    from hpclaunch.run.folder import write_atomic

    text = library.text(recipe)
    target = file or Path(f"{recipe}.yaml")
    target = target / f"{recipe}.yaml" if target.is_dir() else target
    if target.exists() and not force:
        raise UserError(f"{target} exists already", "name another file, or add --force")
    try:
        write_atomic(target.absolute(), text)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}") from None
    print(target)


@recipes.command(
    examples=[
        ("A recipe of your own", "hpclaunch recipes validate mine.yaml"),
        (
            "With a change, printed as resolved",
            "hpclaunch recipes validate tiny training.max_steps=10 --show",
        ),
    ]
)
@_recipe
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE ...]")
@click.option("--show", is_flag=True, help="Print the resolved recipe.")
def validate(recipe: str, overrides: tuple[str, ...], show: bool) -> None:
    """Check a recipe; the first error names file, line and key.

    What a run would be refused for is refused here: its values, its data, a model that nobody can
    load or that is not accessible.
    """
    from hpclaunch.cli.data_lines import DataLines
    from hpclaunch.cli.prediction import prediction
    from hpclaunch.cli.text import say
    from hpclaunch.errors import UserError
    from hpclaunch.launch.check import check_model_access
    from hpclaunch.launch.validate import validate as validate_recipe

    data = DataLines()
    job = validate_recipe(recipe, overrides, data)
    prediction(job, force=False)
    data.print()
    try:
        check_model_access(job)
    except UserError as error:
        if not show:
            raise
        say(f"note: {error}")
    print(job.recipe if show else f"{recipe}: valid", end="" if show else "\n")
