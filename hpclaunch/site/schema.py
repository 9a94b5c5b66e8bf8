"""The schemas of a site profile and of a GPU's data sheet."""

from typing import Annotated, Literal

import msgspec

from hpclaunch.site.sbatch_options import Need, SiteDefaults


class GpuRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How Slurm is asked for one GPU type at this site. All empty: the count alone is enough."""

    constraint: str | None = None
    """Node feature that names the GPU type (`--constraint=a100_80`)."""
    gres_type: str | None = None
    """Type in Slurm's GRES table (`--gpus-per-node=a100:4`)."""
    partition: str | None = None
    """Partition whose nodes have this GPU type."""
    per_node: int | None = None
    """Number of these GPUs in a node."""
    whole_nodes: bool = False
    """Slurm does not count them (no GRES, as on AWS ParallelCluster for Trainium): nodes are asked
    for whole (`--exclusive`), with all of their memory."""


class Site(SiteDefaults, msgspec.Struct, frozen=True, kw_only=True):
    """A site profile. The fields are the keys of its YAML file.

    Beside these there are the options of sbatch that a job takes where its user names none: time,
    partition, account and qos (sbatch_options.py).
    """

    name: str
    """Name of the profile, as `--site` takes it; by default the file's."""
    description: str = ""
    """One line on the cluster."""
    extends: str | None = None
    """Another profile, whose values hold where this one has none."""
    clusters: list[str] = []
    """Patterns of Slurm's ClusterName (`*` allowed): the profile is chosen there without --site."""
    gpu_option: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    """The option of sbatch that asks for GPUs; newer Slurm refuses both together."""
    gpus: dict[str, GpuRequest] = {}
    """The GPU types of the site, by name. Empty: not known; any is asked for by count alone."""
    needs: list[Need] = []
    """Options that every job at this site must have."""
    mem: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+[KMGTkmgt]?\Z")] | None = None
    """Host memory of a whole node, as Slurm writes it (`480G`); `0` is all of it. A job that takes
    some of a node's GPUs asks for its share."""
    cpus_per_gpu: int | None = None
    """CPU cores for each GPU's process."""
    exclusive: bool = False
    """Ask for whole nodes (`--exclusive`)."""
    sbatch_arguments: list[str] = []
    """Other options of sbatch that every job has, each in one word: `--hint=nomultithread`."""
    modules: list[str] = []
    """Environment modules, loaded in this order before anything else."""
    setup: list[str] = []
    """Shell lines, run once after the modules, in the batch script on the first node. What they
    export reaches every node. They are code and are trusted."""
    environment: dict[str, str] = {}
    """Environment variables, set for every process of the job."""
    network: Literal["infiniband", "slingshot", "ethernet", "unknown"] = "unknown"
    """Network between nodes."""
    network_gb_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Most that a node sends to the others, one way, in GB/s (a port of 200 Gb/s is 25)."""
    interface: str | None = None
    """Network interface for rendezvous and NCCL's bootstrap; unset lets NCCL choose."""
    address_suffix: str = ""
    """Appended to the head node's name, where only such names are reachable (`-ib0`)."""
    internet: bool = True
    """Whether compute nodes reach the model hub. If not, models must be in the cache beforehand."""


class GpuType(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU type, from its data sheet (dense rates, no sparsity)."""

    name: str
    memory_gb: float
    """Memory in GB as sold."""
    bf16_tflops: float | None = None
    """Dense bfloat16 matrix peak in TFLOP/s; none: the GPU has no bfloat16."""
    bandwidth_gb_s: float
    """Memory bandwidth in GB/s."""
    link_gb_s: float
    """To the other GPUs of its node in GB/s, one way: NVLink where it usually has it, else PCIe."""
    multiprocessors: int | None = None
    """Streaming multiprocessors (compute units of AMD's)."""
    host_gb_s: float | None = None
    """To the memory of its node in GB/s, one way: sixteen lanes of PCIe unless it is better."""
    fp8: bool = False
    """Its tensor cores take FP8, and torchao's training is for them: Hopper and later."""
    neuron: bool = False
    """A NeuronCore of AWS Trainium: for programs of one's own alone."""
    usable_gib: float | None = None
    """GiB that programs see, where that is not nearly the memory as sold: GDDR with ECC."""
