"""Causes that one line shows: headline and fix of each; the registry says in which order they come.

The headline is followed by the line itself.
"""

from __future__ import annotations

from hpclaunch.diagnose.known_cause import KnownCause
from hpclaunch.diagnose.phrases import devices, files, jobs, limits, network

OPEN_FILES = KnownCause(
    "open-files",
    phrases=limits.OPEN_FILES,
    headline="too many files are open",
    steps=(
        "allow more in the job: ulimit -n $(ulimit -Hn)",
        "torch.multiprocessing.set_sharing_strategy('file_system') keeps none open for the "
        "tensors of loader workers",
    ),
)
OF_SRUN = (
    KnownCause(
        "signalled",
        phrases=jobs.SIGNALLED,
        headline="a signal from outside ended the step",
        steps=(
            "scancel with --signal, or sbatch's --signal before the time limit, sends one: sacct "
            "shows how the job ended",
        ),
    ),
    KnownCause(
        "outside-job",
        phrases=jobs.NO_ALLOCATION,
        headline="srun asked Slurm for a job of its own, and was refused",
        steps=(
            "within a job srun takes the nodes that it has: the script unset SLURM_JOB_ID, or was "
            "started outside of a job",
        ),
    ),
    KnownCause(
        "git",
        phrases=jobs.NO_REPOSITORY,
        headline="git could not do its work in the job",
        steps=(
            "fetch what it needs on the login node, before the job: a compute node may have no key "
            "for ssh, and no internet",
            "of a repository that somebody else owns: git config --global --add safe.directory, "
            "with its folder",
        ),
    ),
    KnownCause(
        "no-ssh",
        phrases=jobs.NO_SSH,
        headline="the launcher does not get onto a node by ssh",
        steps=(
            "start the processes with srun: the job's nodes are reached without ssh; DeepSpeed's "
            "own launcher takes --launcher slurm",
            "or log in by ssh once from node to node, by hand: keys and known_hosts",
        ),
    ),
    KnownCause(
        "no-pmi",
        phrases=jobs.NO_PMI,
        headline="MPI does not find Slurm's process manager (PMI)",
        steps=("start the ranks with a PMI that this MPI knows: srun --mpi=list, then --mpi=pmix",),
    ),
    KnownCause(
        "step-refused",
        phrases=jobs.STEP_REFUSED,
        headline="srun asks for what the job does not have",
        steps=(
            "compare the options of srun in the script (--ntasks, --cpus-per-task, --cpu-bind, "
            "--mem, --gres) with those of the job: scontrol show job shows what it has",
        ),
    ),
    KnownCause(
        "srun-options",
        phrases=jobs.TWO_MEMORIES,
        headline="srun is given two options for memory that exclude each other",
        steps=(
            "unset SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU SLURM_MEM_PER_NODE in the script before "
            "srun: those of a job from within which this one was submitted stay in its environment",
            "ask for memory in one way: --mem, --mem-per-cpu or --mem-per-gpu",
        ),
    ),
    KnownCause(
        "no-pyxis",
        phrases=jobs.NO_PYXIS,
        headline="srun does not know containers here: Slurm's plugin pyxis is not installed",
        steps=(
            "start the container within the step: srun apptainer exec --nv, then image and command",
        ),
    ),
)
NO_CONTROLLER = KnownCause(
    "no-controller",
    phrases=jobs.NO_CONTROLLER,
    headline="Slurm's controller did not answer",
    steps=(
        "it was down, or too busy: sinfo and scontrol ping show whether it is back",
        "tell your site's support if it comes again: the node must reach it too",
    ),
)
OF_FILES = (
    KnownCause(
        "file-size",
        phrases=files.TOO_LARGE,
        headline="a file became larger than the file system, or a limit, allows",
        steps=(
            "the limit in the job: ulimit -f must say unlimited; on Lustre one stripe has one too: "
            "lfs setstripe -c -1 on the folder",
            "smaller files: max_shard_size of save_pretrained",
        ),
    ),
    KnownCause(
        "name-too-long",
        phrases=files.LONG_NAME,
        headline="a file's name is longer than the file system takes",
        steps=(
            "names in the cache of datasets hold the whole path of the data: give the data, or "
            "HF_DATASETS_CACHE, a shorter path; encrypted folders take shorter names than others",
        ),
    ),
    KnownCause(
        "not-a-folder",
        phrases=files.NO_FOLDER,
        headline="a file stands where a folder must be",
        steps=(
            "see each part of the path with ls -ld; where it is a cache, HF_HOME or another "
            "variable names the file",
        ),
    ),
)
OF_DATA = (
    KnownCause(
        "compressed-file",
        phrases=files.COMPRESSED,
        headline="a compressed file is read as text (it begins as those of gzip or zstd do)",
        steps=("unpack it, or let its name end in .gz or .zst where the reader goes by the name",),
    ),
    KnownCause(
        "arrow-limit",
        phrases=files.ARROW_LIMIT,
        headline="the rows of one batch are more than Arrow takes at once",
        steps=(
            "in map: a smaller batch_size and writer_batch_size",
            "a Parquet file with nested columns: write it anew with smaller row groups; JSON with "
            "very long rows: a chunksize of load_dataset that is larger than the longest",
        ),
    ),
    KnownCause(
        "empty-data",
        phrases=files.EMPTY_DATA,
        headline="the data has no rows left",
        steps=(
            "see how many there are after each filter and map, and in this split: len(dataset)",
            "the Trainer takes away the columns that the model's forward does not name, and so all "
            "rows where none fits: remove_unused_columns=False",
        ),
    ),
)
BETWEEN_GPUS = (
    KnownCause(
        "no-address",
        phrases=network.NO_ADDRESS,
        headline="the address at which the ranks are to meet is not one of this node",
        steps=(
            "MASTER_ADDR must name the node of rank 0: the launcher sets it; see that neither the "
            "program nor your shell's start-up files do, and what getent hosts says of it there",
            "or a node takes itself for the first: --machine_rank, --node_rank must differ",
        ),
    ),
    KnownCause(
        "no-peer-access",
        phrases=devices.NO_PEER_ACCESS,
        headline="the GPUs of the node cannot read each other's memory (no peer-to-peer access)",
        steps=(
            "NCCL_P2P_DISABLE=1 in the job lets NCCL go through the host's memory; it must reach "
            "the ranks' own processes",
            "which GPUs can: nvidia-smi topo -p2p r on the node; a virtual machine, IOMMU and ACS "
            "of the host, or ranks in containers of their own may forbid it",
        ),
    ),
    KnownCause(
        "nccl-topology",
        phrases=network.TOPOLOGY,
        headline="NCCL cannot use the file that describes the node's topology",
        steps=(
            "which it is: env | grep NCCL_TOPO_FILE, or a file of the network's plugin; without it "
            "NCCL finds the topology by itself: unset NCCL_TOPO_FILE",
            "a file that the site gave: tell your site's support",
        ),
    ),
)
OF_DRIVER = (
    KnownCause(
        "driver-hang",
        phrases=devices.TOOL_HANGS,
        headline="nvidia-smi does not answer on the node: its driver, or a GPU, hangs",
        steps=("tell your site's support the node; --exclude of hpclaunch resume leaves it out",),
    ),
    KnownCause(
        "cudnn-versions",
        phrases=devices.CUDNN_VERSIONS,
        headline="libraries of two versions of cuDNN are mixed",
        steps=(
            "LD_LIBRARY_PATH, or a module of the site, brings another cuDNN than PyTorch's own: "
            "leave it out; python -m pip list shows nvidia-cudnn",
        ),
    ),
)
SHARING = KnownCause(
    "no-sharing",
    phrases=devices.NO_SHARING,
    headline="processes may not hand each other GPU memory here",
    steps=(
        "PYTORCH_CUDA_ALLOC_CONF without expandable_segments:True: without it no such right is "
        "needed",
        "in a container: the right to trace processes (SYS_PTRACE), and one PID namespace for all",
    ),
)
