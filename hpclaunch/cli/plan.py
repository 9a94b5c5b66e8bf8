"""`hpclaunch plan`: what fits, how long it takes and which layout is fastest, before any queue."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.plan_command import submission
from hpclaunch.cli.resources import gpu_type
from hpclaunch.cli.text import print_json
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.forecast.forecast import Forecast, PredictionRequest


@click.command(
    cls=Command,
    examples=[
        (
            "Memory and time, and the layouts that fit",
            "hpclaunch plan llama3-70b-lora --nodes 4 --gpus 4 --gpu a100_40 --compare",
        ),
        (
            "How many nodes to request",
            "hpclaunch plan --nodes 1..16 --gpus 4 --gpu a100_80 --network 200gb",
        ),
    ],
)
@options.recipe_and_changes
@options.grouped(
    recipe=options.RecipeOptions, sharding=options.ShardingOptions, place=options.PlaceOptions
)
@click.option("--compare", "comparing", is_flag=True, help="List layouts that fit, fastest first.")
@click.option("--exact", is_flag=True, help="Simulate the step's memory (needs hpclaunch[train]).")
@options.as_json
def plan(
    arguments: tuple[str, ...],
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    place: options.PlaceOptions,
    comparing: bool,
    exact: bool,
    as_json: bool,
) -> int:
    """Predict memory, time and cost, and compare layouts.

    Times are for samples of full length (training.max_length); shorter ones take less. Exits with
    2 where the fine-tune cannot fit.
    """
    from hpclaunch.forecast.forecast import forecast
    from hpclaunch.forecast.recomputation import resolve_level
    from hpclaunch.predict.sizes import UncountedModel

    numbers = _numbers(place.nodes)
    place = replace(place, gpu=tuple(gpu_type(each) or each for each in place.gpu))
    request = _request(arguments, place, recipe, sharding, numbers[0], alone=len(numbers) == 1)
    if len(numbers) > 1:
        if comparing or exact:
            raise UserError("--compare and --exact need one number of nodes", "--nodes 4")
        typed = {
            each: submission(arguments, recipe, sharding, place, each)
            for each in place.gpu or (request.gpu,)
        }
        return _scale(request, numbers, typed, as_json)
    if len(place.gpu) > 1:
        raise UserError("several GPU types need a range of nodes", "--nodes 1..8")
    request = replace(request, recipe=resolve_level(request, os.environ))
    try:
        made = forecast(request, os.environ, ask_hub=True)
    except UncountedModel:
        if not exact:
            raise
        return _without_closed_form(request, as_json)
    simulated = _simulated(made).tensor_bytes if exact else None
    if as_json:
        print_json(_as_json(made, comparing, simulated))
    else:
        _print(made, comparing, simulated, place.time)
    return 2 if made.estimate.fits is False else 0


def _print(made: Forecast, comparing: bool, simulated: Any, limit: str | None) -> None:
    from hpclaunch.cli.plan_text import render_forecast

    print(render_forecast(made, simulated, limit))
    if comparing:
        from hpclaunch.cli.plan_layouts import render_layouts

        print("\n" + render_layouts(made))


def _as_json(made: Forecast, comparing: bool, simulated: Any) -> dict[str, Any]:
    from hpclaunch.cli.plan_json import forecast_json

    return forecast_json(made, comparing, simulated)


def _scale(
    request: PredictionRequest,
    numbers: list[int],
    typed: dict[str | None, tuple[str, ...]],
    as_json: bool,
) -> int:
    from hpclaunch.cli.plan_scale import render_scale, scale_json
    from hpclaunch.forecast.scaling import forecast_over

    tables = [(forecast_over(request, numbers, each, os.environ), typed[each]) for each in typed]
    if as_json:
        print_json([scale_json(*each) for each in tables])
    else:
        print("\n\n".join(render_scale(*each) for each in tables))
    fits = any(point.best for table, _ in tables for point in table.points)
    return 0 if fits else 2


def _simulated(made: Forecast) -> Any:
    from hpclaunch.cli.simulation_progress import SimulationProgress
    from hpclaunch.forecast.simulate import simulate

    with SimulationProgress() as progress:
        return simulate(made, progress.done)


def _without_closed_form(request: PredictionRequest, as_json: bool) -> int:
    """Print what the simulation says of a model whose layers no closed form counts."""
    from hpclaunch.cli.plan_exact import render_simulated, simulated_json
    from hpclaunch.cli.simulation_progress import SimulationProgress
    from hpclaunch.forecast.model_config import model_config
    from hpclaunch.forecast.simulate import simulate_uncounted

    config, _ = model_config(request.recipe.model, os.environ, ask_hub=True)
    with SimulationProgress() as progress:
        made = simulate_uncounted(request, config or {}, progress.done)
    if as_json:
        print_json(simulated_json(made))
    else:
        print(render_simulated(made))
    return 2 if made.fits is False else 0


def _request(
    arguments: tuple[str, ...],
    place: options.PlaceOptions,
    recipe: options.RecipeOptions,
    sharding: options.ShardingOptions,
    nodes: int,
    *,
    alone: bool,
) -> PredictionRequest:
    from hpclaunch.cli.invocation import recipe_and_overrides
    from hpclaunch.cli.resources import changes
    from hpclaunch.forecast.auto import resolve_auto
    from hpclaunch.forecast.forecast import PredictionRequest
    from hpclaunch.forecast.global_batch import resolve_batch
    from hpclaunch.launch.draft import site_here
    from hpclaunch.plan.node_memory import memory_bytes
    from hpclaunch.predict.network import rate
    from hpclaunch.recipe import library
    from hpclaunch.recipe.load import load
    from hpclaunch.site.load import load_site

    reference, overrides = recipe_and_overrides(arguments)
    flags = changes(recipe, sharding).flags(overrides)
    resolved = load(reference or library.DEFAULT, overrides, flags)
    request = PredictionRequest(
        recipe=resolved,
        site=load_site(place.site or site_here("sbatch")),
        nodes=nodes,
        gpus_per_node=place.gpus,
        gpu=place.gpu[0] if place.gpu else None,
        network_gb_s=None if place.network is None else rate(place.network),
        node_memory_bytes=None if place.mem is None else memory_bytes(place.mem),
    )
    chosen = resolved.performance.activation_checkpointing == "auto"
    request = replace(request, chosen_level=chosen)
    follows = "per_device_train_batch_size" in resolved.follows_global_batch
    if alone:
        request = replace(request, recipe=resolve_batch(request, os.environ))
    automatic = {"sharding": sharding.sharding == "auto", "batch": sharding.batch == "auto"}
    automatic["batch"] |= follows and automatic["sharding"]
    if any(automatic.values()):
        request = replace(request, recipe=resolve_auto(request, os.environ, **automatic))
    return request


def _numbers(text: str) -> list[int]:
    """Read `4` or `1..8`. Raises UserError."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})(?:\.\.([1-9][0-9]{0,3}))?", text, re.ASCII)
    if not found:
        raise UserError(
            f"--nodes {text!r}: neither a number from 1 to 9999 nor a range of them",
            "write 4, or 1..8",
        )
    first, last = int(found.group(1)), int(found.group(2) or found.group(1))
    if last < first:
        raise UserError(f"--nodes {text}: the range runs backwards", f"write {last}..{first}")
    if first == last or last - first < 16:
        return list(range(first, last + 1))
    # Of a long range only the powers of two between its ends: sixty rows are too many.
    powers = [2**n for n in range(13) if first < 2**n < last]
    return [first, *powers, last]
