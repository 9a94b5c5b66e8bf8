"""`hpclaunch recipes`: list, show, copy, check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpclaunch.cli.options import Json
from hpclaunch.cli.text import answer_json

app = typer.Typer(help="List, show, copy and check recipes.")

Name = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it.")
]


@app.command()
def ls(json: Json = False) -> None:
    """List the ready recipes."""
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import load

    found = [load(name) for name in library.names()]
    if json:
        fields = ("name", "description")
        answer_json([{key: getattr(recipe, key) for key in fields} for recipe in found])
        return
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        print(f"{recipe.name:<{width}}  {recipe.description}")


@app.command()
def cat(recipe: Name) -> None:
    """Print a ready recipe, comments and all."""
    from hpclaunch.recipe import library

    print(library.text(recipe), end="")


@app.command()
def cp(
    recipe: Name,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="RECIPE.yaml by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
) -> None:
    """Copy a ready recipe, to edit it."""
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


@app.command()
def validate(
    recipe: Name,
    overrides: Overrides = None,
    show: Annotated[bool, typer.Option("--show", help="Print it as resolved.")] = False,
) -> None:
    """Check a recipe; the first thing wrong is named with file, line and key."""
    from hpclaunch.recipe.load import load, to_yaml

    resolved = load(recipe, overrides or ())
    print(to_yaml(resolved) if show else f"{recipe}: valid", end="" if show else "\n")
