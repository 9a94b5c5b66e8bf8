"""What a throwaway Slurm cluster looks like, and its configuration files as text."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

CONTROLLER = "controller"
CONTROLLER_LAST_BYTE = 254
# Below the ports that the kernel hands out by itself, for up to 31 nodes and 250 slots.
FIRST_PORT = 10_000
PORTS_PER_CLUSTER = 32


@dataclass(frozen=True)
class Settings:
    """Size and shape of a throwaway cluster."""

    nodes: int = 4
    gpus_per_node: int = 4
    cpus_per_node: int = 8
    memory_mb: int = 500_000
    # One kind per node, the last one for all further nodes. A kind is both the node's feature and
    # the type of its GPUs, so --constraint=KIND and --gpus-per-node=KIND:N can both be tried.
    gpu_kinds: tuple[str, ...] = ("a100_40",)
    partition: str = "debug"
    max_time: str = "1:00:00"
    max_nodes: int = 4
    cluster_name: str = "throwaway"
    # Each node in a network namespace of its own, joined by a bridge, so that links can be cut.
    links: bool = False
    # Seconds after which a silent node counts as lost; a real site has 300.
    lost_after: int = 60
    # A second partition, "urgent", takes nodes from the first: notice by SIGTERM, then this many
    # seconds until SIGKILL. None: no such partition.
    grace: int | None = None
    # A site's own checks at submission: the text of job_submit.lua. None: no such plugin.
    job_submit: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.nodes < PORTS_PER_CLUSTER:
            raise ValueError(f"nodes must lie between 1 and {PORTS_PER_CLUSTER - 1}")
        if self.gpus_per_node < 0 or not self.gpu_kinds:
            raise ValueError("gpus_per_node must not be negative, gpu_kinds must not be empty")

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes: node1, node2, ..."""
        return tuple(f"node{number}" for number in range(1, self.nodes + 1))

    def kind(self, number: int) -> str:
        """GPU type of node NUMBER (the first node is 1)."""
        return self.gpu_kinds[min(number, len(self.gpu_kinds)) - 1]


@dataclass(frozen=True)
class Place:
    """Where one cluster lives: its folder and its own block of loopback addresses."""

    folder: Path
    slot: int
    links: bool = False

    @property
    def network(self) -> str:
        """First three bytes of the addresses: loopback, or a network set aside for benchmarks."""
        return f"198.18.{self.slot}" if self.links else f"127.0.{self.slot}"

    def address(self, last_byte: int) -> str:
        """The address ending in LAST_BYTE in this cluster's block."""
        return f"{self.network}.{last_byte}"

    def port(self, number: int) -> int:
        """Port of node NUMBER's slurmd, or of slurmctld for number 0.

        Each daemon has its own, because they listen on every address: confined to one address
        (CommunicationParameters=NoInAddrAny) an srun inside a job is not reached by its tasks.
        """
        return FIRST_PORT + PORTS_PER_CLUSTER * self.slot + number

    @property
    def slurm_conf(self) -> Path:
        """Path of slurm.conf."""
        return self.folder / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        """Path of the socket of this cluster's own munged."""
        return self.folder / "munge.socket"

    @property
    def logs(self) -> Path:
        """Folder with every daemon's log."""
        return self.folder / "log"

    @property
    def completions(self) -> Path:
        """File with a line for every job that has ended: Slurm's own, without a database."""
        return self.folder / "completions"

    @property
    def devices(self) -> Path:
        """Folder with the device files that stand for GPUs."""
        return self.folder / "dev"


def slurm_conf(settings: Settings, place: Place) -> str:
    """Text of slurm.conf."""
    head = dedent(f"""\
        ClusterName={settings.cluster_name}
        SlurmctldHost={CONTROLLER}({place.address(CONTROLLER_LAST_BYTE)})
        SlurmUser=root
        AuthType=auth/munge
        # A requeued job waits until the credentials of its last start have expired. With 2 seconds
        # they expire before a busy machine has started the job.
        AuthInfo=socket={place.munge_socket},cred_expire=5
        CredType=cred/munge

        SlurmctldPort={place.port(0)}

        StateSaveLocation={place.folder}/state
        SlurmdSpoolDir={place.folder}/spool/%n
        SlurmctldPidFile={place.folder}/slurmctld.pid
        SlurmdPidFile={place.folder}/slurmd-%n.pid
        SlurmctldLogFile={place.logs}/slurmctld.log
        SlurmdLogFile={place.logs}/slurmd-%n.log

        # A small machine poses as large nodes; nothing is confined, so no cgroups are needed.
        SlurmdParameters=config_overrides
        ProctrackType=proctrack/linuxproc
        TaskPlugin=task/none
        JobAcctGatherType=jobacct_gather/none
        AccountingStorageType=accounting_storage/none
        JobCompType=jobcomp/filetxt
        JobCompLoc={place.completions}
        MpiDefault=none
        SwitchType=switch/none

        SelectType=select/cons_tres
        SelectTypeParameters=CR_Core_Memory
        GresTypes=gpu

        # Refuse at submission what no partition could ever run.
        EnforcePartLimits=ALL
        ReturnToService=2
        KillWait=5
        MinJobAge=300
        SlurmctldTimeout=60
        SlurmdTimeout={settings.lost_after}
        SchedulerType=sched/backfill
        SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2

        """)
    lines = ["JobSubmitPlugins=lua\n"] if settings.job_submit is not None else []
    for number, name in enumerate(settings.node_names, start=1):
        kind, gpus = settings.kind(number), settings.gpus_per_node
        gres = f" Gres=gpu:{kind}:{gpus}" if gpus else ""
        lines.append(
            f"NodeName={name} NodeAddr={place.address(number)} Port={place.port(number)}"
            f" CPUs={settings.cpus_per_node}"
            f" RealMemory={settings.memory_mb} Feature={kind}{gres} State=UNKNOWN\n"
        )
    lines.append(
        f"PartitionName={settings.partition} Default=YES Nodes=ALL State=UP"
        f" MaxTime={settings.max_time} DefaultTime=10 MaxNodes={settings.max_nodes}\n"
    )
    if settings.grace is not None:
        head += "PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n"
        # The last line is the partition's.
        lines[-1] = lines[-1].rstrip() + f" PriorityTier=1 GraceTime={settings.grace}\n"
        lines.append(
            f"PartitionName=urgent Nodes=ALL State=UP MaxTime={settings.max_time} DefaultTime=10"
            " PriorityTier=10 PreemptMode=OFF\n"
        )
    return head + "".join(lines)


def gres_conf(settings: Settings, place: Place) -> str:
    """Text of gres.conf: numbered device files, because Slurm numbers the GPUs after them."""
    if not settings.gpus_per_node:
        return ""
    last = settings.gpus_per_node - 1
    numbers = f"[0-{last}]" if last else "0"
    return "".join(
        f"NodeName={name} Name=gpu Type={settings.kind(number)} File={place.devices}/gpu{numbers}\n"
        for number, name in enumerate(settings.node_names, start=1)
    )


def hosts(settings: Settings, place: Place) -> str:
    """Lines of /etc/hosts that make the cluster's names resolvable."""
    named = [*enumerate(settings.node_names, start=1), (CONTROLLER_LAST_BYTE, CONTROLLER)]
    return "".join(f"{place.address(number)} {name}\n" for number, name in named)
