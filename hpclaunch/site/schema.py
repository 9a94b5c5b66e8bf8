"""What a site profile and a GPU's data sheet say, typed."""

from typing import Annotated, Literal

import msgspec

Need = Literal["account", "qos", "partition", "time"]


class GpuRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How this site is asked for one kind of GPU. All empty: the count alone is enough."""

    constraint: str | None = None
    """Node feature that names the kind (`--constraint=a100_80`)."""
    gres_type: str | None = None
    """Type in Slurm's GRES table (`--gpus-per-node=a100:4`)."""
    partition: str | None = None
    """Partition whose nodes have this kind."""
    per_node: int | None = None
    """How many of them a node has."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster's ways. The fields are the keys of a profile's YAML."""

    name: str
    description: str = ""
    extends: str | None = None
    """Another profile whose values stand where this one is silent."""
    clusters: list[str] = []
    """Slurm ClusterName patterns (`*` allowed) by which the profile is chosen without --site."""
    gpu_option: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    """The one option that asks for GPUs; newer Slurm refuses both together."""
    gpus: dict[str, GpuRequest] = {}
    """The kinds the site has. Empty: not known, any kind is asked for by count alone."""
    needs: list[Need] = []
    """What every job here must say."""
    account: str | None = None
    qos: str | None = None
    partition: str | None = None
    time: str | None = None
    """Walltime where the user names none."""
    mem: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+[KMGTkmgt]?\Z")] | None = None
    """Host memory of a whole node, as Slurm writes it (`480G`); `0` is all of it. A job that takes
    some of a node's GPUs asks for its share."""
    cpus_per_gpu: int | None = None
    """CPU cores for each GPU's process."""
    exclusive: bool = False
    modules: list[str] = []
    """Loaded in this order, before anything else."""
    setup: list[str] = []
    """Shell lines of the site's own, run once after the modules, in the batch script on the first
    node; what they export reaches every node. Trusted: they are code."""
    environment: dict[str, str] = {}
    """Set for every process of the job."""
    network: Literal["infiniband", "slingshot", "ethernet", "unknown"] = "unknown"
    network_gb_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """What a node sends to others at most, one way, in GB/s (a port of 200 Gb/s is 25)."""
    interface: str | None = None
    """Network interface for rendezvous and NCCL's bootstrap; unset lets NCCL choose."""
    address_suffix: str = ""
    """Appended to the head node's name, where only such names are reachable (`-ib0`)."""
    internet: bool = True
    """Compute nodes reach the model hub. False: models must be in the cache beforehand."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of GPU, from its data sheet (dense rates, no sparsity)."""

    name: str
    memory_gb: float
    """Memory in GB as sold."""
    bf16_tflops: float | None = None
    """Dense bfloat16 matrix peak in TFLOP/s; none: the card has no bfloat16."""
    bandwidth_gb_s: float
    """Memory bandwidth in GB/s."""
    link_gb_s: float
    """To the other GPUs of its node in GB/s, one way: NVLink where it usually has it, else PCIe."""
    usable_gib: float | None = None
    """GiB that programs see, where that is not nearly the memory as sold: GDDR with ECC."""
