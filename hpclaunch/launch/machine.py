"""What is known of where a run will be: this machine, this allocation, or the cluster's nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.local_devices import local_cpus, local_gpus
from hpclaunch.launch.request import Request, from_environment
from hpclaunch.plan.plan import CPUS_PER_PROCESS
from hpclaunch.plan.resources import Mode, Resources
from hpclaunch.plan.slurm_time import seconds_of
from hpclaunch.site.load import gpu_request
from hpclaunch.site.sbatch_arguments import ignored_variables
from hpclaunch.site.schema import GpuRequest, Site
from hpclaunch.slurm import commands

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hpclaunch.slurm.allocation import Allocation
    from hpclaunch.slurm.discover import Discovery
    from hpclaunch.slurm.nodes import NodeType

LOCAL_PROCESSES = 2
"""CPU processes of a local run unless a number is requested: enough to shard over."""


@frozen
class Machine:
    """What is known of where the run will be; None and '' where nothing is."""

    resources: Resources
    """As requested, completed by what is there."""
    gpu_request: GpuRequest | None = None
    """How Slurm is asked for the GPU type, where its own tables say."""
    node_cpus: int | None = None
    node_gpus: int | None = None
    node_memory_mib: int | None = None
    """Host memory of a node in MiB."""
    slurm_problem: str = ""
    """Why Slurm could not be asked about its nodes, in its own words."""
    part_of_allocation: bool = False
    """The run takes the first nodes of the allocation, which has more."""
    notes: tuple[tuple[str, str], ...] = ()
    """What was seen in the cluster's tables that the user must know, each with its fix."""


def machine_for(request: Request, site: Site, variables: Mapping[str, str]) -> Machine:
    """Return what is known of where the run will be. Raises UserError for what cannot be there."""
    requested = request.resources
    if request.mode == "local":
        return _this_machine(requested)
    if request.mode == "srun":
        from hpclaunch.slurm.allocation import current_allocation

        if allocation := current_allocation(variables):
            return _in_allocation(requested, allocation)
    requested = from_environment(requested, request.mode, variables)
    # Values of a wrong kind are refused before Slurm is asked with them.
    requested.check()
    ignored = _ignored_variables(request.mode, variables)
    if not commands.available():
        return Machine(requested, notes=ignored)
    machine = _on_cluster(requested, site)
    return replace(machine, notes=(*machine.notes, *ignored))


def _ignored_variables(mode: Mode, variables: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return a note on variables that plain sbatch would heed, and the job does not get."""
    names = ignored_variables("SALLOC" if mode == "srun" else "SBATCH", variables)
    if not names:
        return ()
    fix = "use the options of hpclaunch, or --sbatch-arg"
    return ((f"{', '.join(names)}: set in this shell, and without effect here", fix),)


def _on_cluster(requested: Resources, site: Site) -> Machine:
    """Ask sinfo what the nodes hold, and which of them the job can get."""
    from hpclaunch.slurm.discover import discover, nodes_for
    from hpclaunch.slurm.nodes import in_question, sinfo, smallest

    partition = requested.partition or site.partition
    listed = sinfo(partition)
    if listed.problem:
        why = f"sinfo failed twice: {listed.problem}"
        note = (f"nothing is known of the nodes' cores and memory: {why}", "name --cpus and --mem")
        return Machine(requested, slurm_problem=why, notes=(note,))
    nodes: Sequence[NodeType]
    if requested.cpu_processes:
        wanted = CPUS_PER_PROCESS * requested.cpu_processes
        least = smallest(listed.types, partition)
        if least and least < wanted and not (requested.cpus or site.cpus_per_gpu):
            requested = replace(requested, cpus=least)
        nodes = in_question(listed.types, partition)
        sizes = [node.memory_mib for node in nodes if node.memory_mib is not None]
        memory = min(sizes) if sizes and len(sizes) == len(nodes) else None
        limits = tuple(_limit_notes(requested, site, nodes))
        return Machine(requested, node_memory_mib=memory, notes=limits)
    if site.gpus:
        request = gpu_request(site, requested.gpu)
        found = nodes_for(request, listed.types, partition)
        if found is None:
            return Machine(requested)
        made = None
    else:
        found = discover(requested.gpu, listed.types, partition)
        if found is None:
            return Machine(requested, slurm_problem=_no_gpus(partition, listed.types))
        made = found.request
        if requested.gpus and requested.gpus > found.most_gpus:
            where = f"partition {partition}" if partition else "this cluster"
            raise UserError(
                f"--gpus {requested.gpus}: a node of {where} has {found.most_gpus}",
                f"use --gpus {found.most_gpus} and more --nodes",
            )
    notes = (*_gpu_notes(requested, site, found), *_limit_notes(requested, site, found.nodes))
    return Machine(
        requested, made, found.node_cpus, found.node_gpus, found.node_memory_mib, notes=notes
    )


def _no_gpus(partition: str | None, listed: Sequence[NodeType]) -> str:
    """Return the message that no node has GPUs.

    Raises UserError for a partition that is there without any.
    """
    if partition and listed:
        raise UserError(
            f"no node of partition {partition} has GPUs, by what sinfo lists",
            "name another --partition, or use --cpu-processes N",
        )
    return "sinfo lists no node with GPUs" + (f" in partition {partition}" if partition else "")


def _gpu_notes(requested: Resources, site: Site, found: Discovery) -> Iterator[tuple[str, str]]:
    """Return what the user must know of the nodes' GPUs."""
    if not site.gpus and requested.gpu is None and len(found.gpu_names) > 1:
        names = ", ".join(found.gpu_names)
        yield (
            f"the job can get nodes with different GPUs ({names}), and several kinds at once",
            "name one: --gpu TYPE",
        )
    if not site.gpus and requested.gpu is not None and not found.gpu_names:
        yield (
            f"this cluster has no names for its GPUs: whether they are {requested.gpu} is unknown",
            "if they are not, memory and time are predicted for the wrong type",
        )
    if found.request.partition and not requested.partition and not site.gpus:
        yield (
            f"the default partition has no such GPUs: the job goes to {found.request.partition}",
            "or name another: --partition",
        )


def _limit_notes(
    requested: Resources, site: Site, nodes: Sequence[NodeType]
) -> Iterator[tuple[str, str]]:
    """Return what a job asks for that its partition never gives: some sites queue it all the same.

    A partition's rows all have its time limit; of several partitions the most generous counts.
    """
    counts = [node.count for node in nodes if node.count is not None]
    if nodes and len(counts) == len(nodes):
        most = max(
            sum(each.count or 0 for each in nodes if each.partition == node.partition)
            for node in nodes
        )
        if requested.node_count > most:
            yield (
                f"--nodes {requested.node_count}: the partition has {most} such nodes, so the job "
                "would never start",
                f"use --nodes {most} at most, or another --partition",
            )
    limits = {node.time_limit: node.time_limit_s for node in nodes}
    seconds = [limit for limit in limits.values() if limit is not None]
    time = requested.time or site.time
    if time and limits and len(seconds) == len(limits) and seconds_of(time) > max(seconds):
        longest = max(limits, key=lambda text: limits[text] or 0)
        yield (
            f"--time {time} is over the partition's limit of {longest}, so the job would never "
            "start",
            f"use --time {longest} at most: a training goes on by itself after it",
        )


def _this_machine(requested: Resources) -> Machine:
    """Use this machine's GPUs, or its CPUs where it has none."""
    cpus = local_cpus()
    requested.check()
    if not requested.cpu_processes:
        there = local_gpus()
        if requested.gpus and requested.gpus > there:
            raise UserError(
                f"--gpus {requested.gpus}: this machine has {there}",
                f"use --gpus {there}" if there else "use --cpu-processes 2",
            )
        if there:
            requested = replace(requested, gpus=requested.gpus or there)
        else:
            requested = replace(requested, cpu_processes=LOCAL_PROCESSES)
    per_node = requested.cpu_processes or requested.gpus or 1
    return Machine(requested, node_cpus=cpus, node_gpus=per_node)


def _in_allocation(requested: Resources, allocation: Allocation) -> Machine:
    """Use the allocation as it is, on all its nodes or on the first of them."""
    nodes = allocation.nodes if requested.nodes is None else requested.nodes
    if nodes > allocation.nodes:
        raise UserError(
            f"--nodes {requested.nodes}: this allocation (job {allocation.job_id}) has "
            f"{allocation.nodes}",
            "leave --nodes out: all of its nodes are used",
        )
    gpus = requested.gpus or allocation.gpus
    if not requested.cpu_processes:
        if not gpus:
            raise UserError(
                f"this allocation (job {allocation.job_id}) holds no GPUs",
                "allocate some, or use --cpu-processes N",
            )
        if allocation.gpus and gpus > allocation.gpus:
            raise UserError(
                f"--gpus {gpus}: this allocation (job {allocation.job_id}) has {allocation.gpus} "
                "a node",
                "leave --gpus out: all of them are used",
            )
    resources = replace(
        requested,
        nodes=nodes,
        gpus=None if requested.cpu_processes else gpus,
        cpus=min(requested.cpus or allocation.cpus or 1, allocation.cpus or requested.cpus or 1),
    )
    return Machine(
        resources,
        GpuRequest(),
        allocation.cpus,
        allocation.gpus,
        part_of_allocation=nodes < allocation.nodes,
    )
