"""`hpclaunch config`: the accelerate YAML alone."""

from __future__ import annotations

from typing import Literal

import click

from hpclaunch.cli import options
from hpclaunch.errors import UserError


@click.command()
@options.words
@options.grouped(
    nodes=options.NodeOptions, sharding=options.ShardingOptions, recipe=options.RecipeOptions
)
def config(
    words: tuple[str, ...],
    nodes: options.NodeOptions,
    sharding: options.ShardingOptions,
    recipe: options.RecipeOptions,
) -> None:
    """Print the accelerate config for so many nodes and GPUs.

    For use by hand: accelerate launch --config_file FILE --machine_rank RANK ... train.py
    """
    from hpclaunch.cli.invocation import recipe_and_overrides
    from hpclaunch.cli.resources import changes, resources
    from hpclaunch.plan.layout import layout
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import load
    from hpclaunch.render.accelerate import DEFAULT_PORT, accelerate_config
    from hpclaunch.site.load import GENERIC, gpu_request, load_site

    if "auto" in {sharding.sharding, sharding.batch}:
        raise UserError("nothing is predicted for a file alone", "name the sharding")
    reference, overrides = recipe_and_overrides(words)
    flags = changes(recipe, sharding).flags()
    # The file alone is for a program of the user's own: checkpointing only when asked for.
    flags.setdefault("training.gradient_checkpointing", False)
    resolved = load(reference or library.DEFAULT, overrides, flags)
    needs = resources(nodes, options.SlurmOptions())
    needs.check()
    gpu_request(load_site(GENERIC), needs.gpu)  # a kind that nobody knows is refused
    device: Literal["gpu", "cpu"] = "cpu" if needs.cpu_processes else "gpu"
    per_node = needs.cpu_processes or needs.gpus or 1
    lay = layout(resolved, needs.node_count, per_node, device, own_program=True)
    port = needs.port or DEFAULT_PORT
    print(
        accelerate_config(lay, needs.node_count, needs.node_count * per_node, device, port), end=""
    )
