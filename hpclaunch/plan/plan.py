"""Recipe + site + resources -> Plan. Pure: the same input gives the same plan."""

from __future__ import annotations

from typing import Literal

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.plan.layout import Layout, layout
from hpclaunch.plan.levers import check_machine
from hpclaunch.plan.neuron import check_neuron, environment, on_neuron
from hpclaunch.plan.notes import PlanNote, no_mail, no_time_limit, plan_notes
from hpclaunch.plan.resources import Launch, Resources, check_needs
from hpclaunch.plan.server import check_server
from hpclaunch.plan.slurm_options import Option, slurm_options, with_mail
from hpclaunch.recipe.groups import check_groups
from hpclaunch.recipe.schema import Recipe
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import Site

CPUS_PER_PROCESS = 4
"""CPU cores for each process where neither user, site nor cluster says."""

MAX_RESTARTS = 50
"""Restarts of a job where nobody says: enough for 150 hours on a 3-hour queue. A start that gets
no further ends them in any case."""


@frozen
class Plan:
    """Who runs where, how it is sharded, with what around it. What rendering needs, and no more."""

    launch: Launch
    recipe: Recipe
    site: Site
    resources: Resources
    device: Literal["gpu", "cpu"]
    nodes: int
    processes_per_node: int
    cpus_per_node: int
    layout: Layout
    options: tuple[Option, ...]
    """What sbatch and salloc are asked for; empty for a local run."""
    environment: tuple[tuple[str, str], ...]
    """Set for every process of the job, in this order."""
    notes: tuple[PlanNote, ...]
    restarts: int = 0
    """How often the job goes back into the queue by itself; 0 for attached runs."""

    @property
    def processes(self) -> int:
        """Ranks in all."""
        return self.nodes * self.processes_per_node

    @property
    def server_nodes(self) -> int:
        """Nodes that the allocation has beside those that train: 1 with a server, else 0."""
        return int(self.builtin_trainer and self.recipe.method.grpo.server.enabled)

    @property
    def neuron(self) -> bool:
        """Whether it runs on AWS Trainium: torchrun starts it, without an accelerate config."""
        return self.device == "gpu" and on_neuron(self.resources.gpu, self.site)

    @property
    def builtin_trainer(self) -> bool:
        """True where hpclaunch.train runs, False for the user's own program."""
        return not self.launch.program


def make_plan(recipe: Recipe, site: Site, resources: Resources, launch: Launch) -> Plan:
    """Decide everything that can be decided before the job runs.

    Raises UserError for what cannot be: a kind the site lacks, a missing account, a method that
    the device cannot carry.
    """
    resources.check()
    launch.check()
    slurm = launch.mode != "local"
    if slurm:
        check_needs(site, resources)
    device: Literal["gpu", "cpu"] = "cpu" if resources.cpu_processes else "gpu"
    per_node = resources.cpu_processes or resources.gpus or 1
    check_neuron(recipe, site, resources, launch)
    _check_gpu(recipe, resources)
    if not launch.program:
        check_machine(recipe, resources.gpu, device)
        check_groups(recipe, resources.node_count * per_node)
    if launch.mode == "local" and resources.node_count != 1:
        raise UserError("a local run has one node", "use sbatch or srun for several")
    served = not launch.program and recipe.method.grpo.server.enabled
    if served:
        check_server(launch)
    cpus = _cpus(site, resources, launch, per_node)
    lay = layout(recipe, resources.node_count, per_node, device, own_program=bool(launch.program))
    requested = with_mail(resources, recipe.notify.mail)
    options: tuple[Option, ...] = ()
    if slurm:
        options = slurm_options(site, requested, launch, per_node, cpus, server=served)
    by_count = slurm and launch.gpu_request is None and not site.gpus and resources.gpu is not None
    why = launch.slurm_problem or "there is no Slurm here to ask"
    if launch.slurm_problem and any(launch.slurm_problem in note for note, _ in launch.slurm_notes):
        why = "Slurm cannot be asked"  # a note before this one says why
    notes = plan_notes(
        recipe, site, resources, lay, bool(launch.program), kind_by_count=why if by_count else ""
    )
    return Plan(
        launch=launch,
        recipe=recipe,
        site=site,
        resources=resources,
        device=device,
        nodes=resources.node_count,
        processes_per_node=per_node,
        cpus_per_node=cpus,
        layout=lay,
        options=options,
        environment=_environment(recipe, site, launch, device, max(1, cpus // per_node), resources),
        restarts=_restarts(resources, launch),
        notes=(
            *(PlanNote(*note) for note in launch.slurm_notes),
            *notes,
            *no_mail(recipe, slurm),
            *(no_time_limit(options) if launch.mode == "sbatch" else ()),
        ),
    )


def _restarts(resources: Resources, launch: Launch) -> int:
    """How often the job may start again. Raises UserError where it cannot go on by itself."""
    requested = resources.max_restarts
    if launch.test_run and not requested:
        return 0
    if launch.mode == "sbatch" and not launch.program and not launch.test_run:
        return MAX_RESTARTS if requested is None else requested
    if requested:
        raise UserError(
            f"--max-restarts {requested}: only batch jobs of the built-in trainer go on by "
            "themselves",
            "leave it out",
        )
    return 0


def _check_gpu(recipe: Recipe, resources: Resources) -> None:
    """Refuse bfloat16 on a GPU that has none."""
    kind = gpus().get(resources.gpu or "")
    if kind and kind.bf16_tflops is None and recipe.model.dtype == "bfloat16":
        raise UserError(f"{kind.name} has no bfloat16", "add model.dtype=float16")


def _cpus(site: Site, resources: Resources, launch: Launch, per_node: int) -> int:
    """CPU cores a node: as asked, else the site's or the node's share, else 4 a process."""
    if resources.cpus:
        return resources.cpus
    if site.cpus_per_gpu:
        return site.cpus_per_gpu * per_node
    if launch.node_cpus:
        shares = max(launch.node_gpus or per_node, per_node)
        return max(1, launch.node_cpus * per_node // shares)
    return CPUS_PER_PROCESS * per_node


def _environment(
    recipe: Recipe, site: Site, launch: Launch, device: str, threads: int, resources: Resources
) -> tuple[tuple[str, str], ...]:
    """Variables of the job's processes; the site's own come last and win."""
    # Past 8 threads a rank gains nothing on a GPU node, where the CPUs feed data and no more.
    values = {"OMP_NUM_THREADS": str(threads if device == "cpu" else min(threads, 8))}
    if device == "gpu" and on_neuron(resources.gpu, site):
        values |= environment(resources.node_count)
    elif device == "gpu":
        values |= {
            "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
            "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
            "NCCL_DEBUG_FILE": f"{launch.folder}/logs/nccl-%h-%p.log",
        }
    elif recipe.fsdp.engine == "deepspeed":
        values |= {"DS_ACCELERATOR": "cpu"}  # accelerate's own variable would leave DeepSpeed out
    else:
        values |= {"ACCELERATE_USE_CPU": "true"}
    if site.interface:
        values |= {"NCCL_SOCKET_IFNAME": site.interface, "GLOO_SOCKET_IFNAME": site.interface}
    values |= {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    if recipe.tracking.wandb.enabled:
        wandb = recipe.tracking.wandb
        values |= {"WANDB_MODE": wandb.mode, "WANDB_DIR": str(launch.folder)}
        values |= {"WANDB_PROJECT": wandb.project} if wandb.project else {}
        values |= {"WANDB_ENTITY": wandb.entity} if wandb.entity else {}
    return tuple((values | site.environment).items())
