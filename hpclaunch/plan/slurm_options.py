"""The options of sbatch and salloc, each with its reason."""

from __future__ import annotations

import string
from dataclasses import replace

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.plan.resources import Launch, Resources
from hpclaunch.site.load import gpu_request
from hpclaunch.site.sbatch_arguments import check_arguments
from hpclaunch.site.sbatch_options import rows
from hpclaunch.site.schema import Site

DECIDED_HERE = ("mem", "constraint")
"""Options with a row whose value is more than what the user or the site names."""

MAIL_TYPES = "END,FAIL,REQUEUE"
"""When Slurm writes, by `notify.mail`."""

HOST_MARGIN = 1.25
"""Times the predicted memory of a node's ranks that is asked for, where their share is less."""

_MIB = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
"""MiB in each of Slurm's units."""


@frozen
class Option:
    """One option of sbatch and salloc, with the reason it is there."""

    flag: str
    value: str | None
    why: str = ""

    def __str__(self) -> str:
        """Return it as Slurm reads it: `--nodes=4`."""
        return self.flag if self.value is None else f"{self.flag}={self.value}"


def slurm_options(
    site: Site,
    resources: Resources,
    launch: Launch,
    per_node: int,
    cpus: int,
    *,
    server: bool = False,
) -> tuple[Option, ...]:
    """Return the options for sbatch, in the order a reader wants them.

    `server`: a node more than the training has, for the server.
    Raises UserError for more GPUs than a node of the site has.
    """
    check_arguments(site.sbatch_arguments, f"site {site.name}: sbatch_arguments")
    request = launch.gpu_request or gpu_request(site, resources.gpu)
    if request.per_node and per_node > request.per_node and not resources.cpu_processes:
        raise UserError(
            f"--gpus {per_node}: site {site.name} has {request.per_node} of them per node",
            f"use --gpus {request.per_node} and more --nodes",
        )
    found = [
        Option("--job-name", launch.name),
        Option("--nodes", str(resources.node_count + server), "the last one serves" * server),
        Option("--ntasks-per-node", "1", "one launcher per node; it starts one process per GPU"),
    ]
    if not resources.cpu_processes and not request.whole_nodes:
        typed = f"{request.gres_type}:{per_node}" if request.gres_type else str(per_node)
        if site.gpu_option == "gres":
            found.append(Option("--gres", f"gpu:{typed}"))
        else:
            found.append(Option("--gpus-per-node", typed))
    found += _constraint(None if resources.cpu_processes else request.constraint, resources)
    found.append(Option("--cpus-per-task", str(cpus), "cores per node: its one task holds them"))
    whole_nodes = request.whole_nodes and not resources.cpu_processes
    mem, why = resources.mem or ("0" if whole_nodes and site.mem is None else None), "per node"
    if not mem:
        mem = _mem(site, launch, request.per_node, per_node, cpus, resources)
        mem, why = _enough(mem, site, launch, why)
    if mem:
        found.append(
            Option("--mem", _in_gib(mem), "all of the node's memory" if mem == "0" else why)
        )
    if site.exclusive or resources.exclusive or whole_nodes:
        found.append(Option("--exclusive", None))
    of_gpu = {"partition": request.partition}
    for name, row in rows().items():
        if name in DECIDED_HERE:
            continue
        default = (of_gpu.get(name) or getattr(site, name)) if row.of_site else None
        value = getattr(resources, name) or default
        if value:
            found.append(Option(row.flag, value))
    for argument in (*site.sbatch_arguments, *resources.sbatch_arguments):
        flag, _, text = argument.partition("=")
        found.append(Option(flag, text or None))
    return tuple(found)


def with_mail(resources: Resources, address: str | None) -> Resources:
    """Return the resources with `notify.mail`, where the command line names nobody to write to."""
    if address is None:
        return resources
    return replace(
        resources,
        mail_user=resources.mail_user or address,
        mail_type=resources.mail_type or MAIL_TYPES,
    )


def _constraint(of_gpu: str | None, resources: Resources) -> list[Option]:
    """Return the node features that are needed: the GPU type's, and what the user names."""
    own = resources.constraint
    if of_gpu is None or own is None:
        why = "this site's name for the GPU type" if own is None else ""
        return [Option("--constraint", of_gpu or own, why)] if of_gpu or own else []
    return [Option("--constraint", f"{of_gpu}&({own})" if "|" in own else f"{of_gpu}&{own}")]


def _mem(
    site: Site,
    launch: Launch,
    gpus_of_node: int | None,
    per_node: int,
    cpus: int,
    resources: Resources,
) -> str | None:
    """Return the memory to ask for where the user names none: the site's, in the share we take.

    Without a figure of the site, a whole node's GPUs come with all of its memory, and a part of
    them with that part of what sinfo says the node has.
    """
    of_node = gpus_of_node or gpus_of_any_node(site) or launch.node_gpus
    if resources.cpu_processes:
        # No GPU tells the share; the cores do, where the site says how many a node has.
        whole = (site.cpus_per_gpu or 0) * (of_node or 0)
        share = min(1.0, cpus / whole) if whole else 1.0
    else:
        share = min(1.0, per_node / of_node) if of_node else 1.0
    if site.mem is None:
        if resources.cpu_processes or launch.node_gpus is None:
            return None
        if per_node >= launch.node_gpus:
            return "0"
        # A default for each core (DefMemPerCPU) is often far less than what comes with the GPUs.
        gib = (launch.node_memory_mib or 0) * per_node // launch.node_gpus // 1024
        return f"{gib}G" if gib else None
    if share == 1.0 or site.exclusive or resources.exclusive:
        return site.mem
    return _part(site.mem, share)


def _enough(mem: str | None, site: Site, launch: Launch, why: str) -> tuple[str | None, str]:
    """Return the memory to ask for, and the reason: more than the share where that is too little.

    What the nodes do not have is not asked for: such a plan is refused, with what it needs. Where
    nothing is known of their memory, the job gets the partition's default.
    """
    needed = launch.host_memory_mib
    if needed is None or mem == "0" or (mem is not None and needed <= mib_of(mem)):
        return mem, why
    whole = None if site.mem is None else mib_of(site.mem) or None
    most = min((each for each in (whole, launch.node_memory_mib) if each), default=None)
    known = most is not None or site.mem is not None
    if not known or (most is not None and needed > most):
        return mem, why
    requested = int(needed * HOST_MARGIN) if most is None else int(min(needed * HOST_MARGIN, most))
    return str(-(-requested // 1024) * 1024 if most is None else requested), (
        "per node: the predicted host memory and a quarter more, above the GPUs' share"
    )


def _part(mem: str, share: float) -> str | None:
    """Return a share of an amount in MiB; None for a share of 0, which would be all of the node."""
    mib = int(mib_of(mem) * share)
    return str(mib) if mib else None


def mib_of(mem: str) -> float:
    """Return an amount of memory as Slurm writes it (`480G`) in MiB."""
    unit = mem[-1].upper() if mem[-1].isalpha() else "M"
    return int(mem.rstrip(string.ascii_letters)) * _MIB[unit]


def _in_gib(mem: str) -> str:
    """Return an amount in whole GiB where it is one, as `480G` for 491520 MiB; else as it is."""
    gib, rest = divmod(int(mem), 1024) if mem.isdigit() else (0, 0)
    return f"{gib}G" if gib and not rest else mem


def gpus_of_any_node(site: Site) -> int | None:
    """Return how many GPUs a node has, where all kinds of the site agree."""
    counts = {request.per_node for request in site.gpus.values()}
    return counts.pop() if len(counts) == 1 else None
