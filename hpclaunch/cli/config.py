"""`hpclaunch config`: the accelerate YAML alone."""

from __future__ import annotations

from typing import Literal

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.errors import UserError


@click.command(
    cls=Command,
    examples=[
        ("For 16 GPUs on four nodes", "hpclaunch config --nodes 4 --gpus 4 > accelerate.yaml"),
        (
            "With HSDP on two nodes",
            "hpclaunch config --nodes 2 --gpus 8 --sharding hybrid",
        ),
    ],
)
@options.recipe_and_changes
@options.grouped(
    recipe=options.RecipeOptions, sharding=options.ShardingOptions, nodes=options.NodeOptions
)
def config(
    arguments: tuple[str, ...],
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    nodes: options.NodeOptions,
) -> None:
    """Print the accelerate config alone.

    For use by hand: accelerate launch --config_file FILE --machine_rank RANK train.py
    """
    from hpclaunch.cli.invocation import recipe_and_overrides
    from hpclaunch.cli.resources import changes, resources
    from hpclaunch.plan.layout import layout
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import load
    from hpclaunch.render.accelerate import DEFAULT_PORT, accelerate_config
    from hpclaunch.site.load import GENERIC, gpu_request, load_site

    if "auto" in {sharding.sharding, sharding.batch}:
        raise UserError("auto needs a prediction, and config makes none", "name the sharding")
    reference, overrides = recipe_and_overrides(arguments)
    flags = changes(recipe, sharding).flags(overrides)
    # The file is for a program of the user's own.
    resolved = load(reference or library.DEFAULT, overrides, flags, own_program=True)
    needs = resources(nodes, options.SlurmOptions())
    needs.check()
    gpu_request(load_site(GENERIC), needs.gpu)  # raises for an unknown GPU type
    device: Literal["gpu", "cpu"] = "cpu" if needs.cpu_processes else "gpu"
    per_node = needs.cpu_processes or needs.gpus or 1
    lay = layout(resolved, needs.node_count, per_node, device, own_program=True)
    port = needs.port or DEFAULT_PORT
    print(
        accelerate_config(lay, needs.node_count, needs.node_count * per_node, device, port), end=""
    )
