"""`hpclaunch preflight`: measure the bandwidth of collectives, for better plans."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from hpclaunch.cli import options
from hpclaunch.cli.help import Command
from hpclaunch.cli.text import say, waiting_message
from hpclaunch.errors import UserError

if TYPE_CHECKING:
    from hpclaunch.cli.invocation import Invocation
    from hpclaunch.forecast.preflight_results import SiteBandwidths

LIMIT = "10:00"
"""Time limit where the user names none: it takes a minute or two."""


@click.command(
    cls=Command,
    examples=[
        ("Between two nodes of four GPUs", "hpclaunch preflight --nodes 2 --gpus 4"),
        ("Inside one node", "hpclaunch preflight --gpus 8 --gpu h100"),
    ],
)
@options.grouped(nodes=options.NodeOptions, slurm=options.SlurmOptions, run=options.RunOptions)
@options.dry_run
@click.pass_obj
def preflight(
    typed: Invocation,
    nodes: options.NodeOptions,
    slurm: options.SlurmOptions,
    run: options.RunOptions,
    dry_run: bool,
) -> int:
    """Measure the bandwidth inside and between nodes.

    Runs all-gathers and all-reduces over all GPUs, and copies between them and their host's
    memory, for a minute or two, in the allocation you are in or in a short job of its own. The
    bandwidths are kept for this site; later plans use them.
    """
    from hpclaunch.cli.resources import request
    from hpclaunch.forecast.preflight_results import PROGRAM, keep
    from hpclaunch.launch.draft import draft
    from hpclaunch.run.find import default_runs_dir, find, next_name

    runs_dir = (run.runs_dir or default_runs_dir()).absolute()
    measuring = options.JobOptions(
        nodes=nodes,
        run=replace(run, name=run.name or next_name(runs_dir, "preflight")),
        slurm=replace(slurm, time=slurm.time or LIMIT),
    )
    requested = request("srun", typed, measuring)
    with waiting_message():
        job = draft(replace(requested, program=PROGRAM))
    if job.plan.nodes * job.plan.processes_per_node == 1:
        raise UserError(
            "a single rank has no other to exchange data with", "add --nodes 2 or --gpus 2"
        )
    if dry_run:
        print(job.script, end="")
        return 0
    from hpclaunch.cli.attach import run_to_its_end

    code = run_to_its_end(job)
    if not code:
        _print_rates(keep(*find(str(job.plan.launch.folder))))
    return code


def _print_rates(kept: SiteBandwidths) -> None:
    for where, rates in (("inside a node", kept.inside), ("between nodes", kept.across)):
        if rates is not None:
            print(
                f"{where}: all-gather {rates.gather_gb_s:.3g} GB/s, "
                f"all-reduce {rates.reduce_gb_s:.3g} GB/s ({kept.kind}, {rates.ranks} ranks)"
            )
    if kept.host is not None:
        print(
            f"host memory: {kept.host.to_gpu_gb_s:.3g} GB/s to each GPU, "
            f"{kept.host.from_gpu_gb_s:.3g} GB/s back ({kept.kind}, {kept.host.gpus} at once)"
        )
    say(f"kept in {kept.path}; plans for this site use it")
