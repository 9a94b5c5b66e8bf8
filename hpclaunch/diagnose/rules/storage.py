"""Disks that are full, or not where they should be."""

from __future__ import annotations

import re
import shlex

from hpclaunch.diagnose import patterns
from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.limits import SEMAPHORE
from hpclaunch.diagnose.rules.program import traceback
from hpclaunch.diagnose.run_evidence import RunEvidence

_PATH = re.compile(r"['\"](/[^'\"]{1,300})['\"]")
_COPIED_TO = re.compile(r"['\"] -> ['\"](/[^'\"]{1,300})['\"]")
_GONE = re.compile(r"endpoint|Errno 10[78]\b|Errno (?:70|112)\b|Errno 110\b")
_DOWNLOADED = re.compile(r"huggingface_hub/(?:file_download|_snapshot)|hf_xet|snapshot_download\(")
OF_NODE = re.compile(r"/(?:tmp|dev/shm|var/tmp|run)/")
"""Folders that each node has for itself."""
_WRITTEN = re.compile(r"\bof (/[^\s:'\"]+): '?No space")
_CACHES = (
    ("/.triton/", "TRITON_CACHE_DIR"), ("/torchinductor_", "TORCHINDUCTOR_CACHE_DIR"),
    ("/torch_extensions/", "TORCH_EXTENSIONS_DIR"), ("/.cache/vllm", "VLLM_CACHE_ROOT"),
    ("/.cache/flashinfer", "FLASHINFER_WORKSPACE_BASE"), ("/.cache/pip", "PIP_CACHE_DIR"),
    ("/.nv/ComputeCache", "CUDA_CACHE_PATH"), ("/.apptainer/cache", "APPTAINER_CACHEDIR"),
    ("/.singularity/cache", "SINGULARITY_CACHEDIR"), ("/nltk_data", "NLTK_DATA"),
    ("/.cache/matplotlib", "MPLCONFIGDIR"), ("/.cache/torch/", "TORCH_HOME"),
)  # fmt: skip
"""Caches that lie in the user's home, and the variables that move them."""
_COMPILED = _CACHES[:2] + _CACHES[3:5] + (("/.nv/ComputeCache", "CUDA_CACHE_PATH"),)
"""Those of compiled kernels: each node can have its own."""
_CACHED = re.compile(r"cache|/hub/|huggingface|\.arrow|\.lock|/tmp\w+")
_LOCKING = re.compile(r"\b(?:flock|lockf)\(")
"""A call that takes, or gives back, a lock on a file."""
LARGE = "what is large there: du -sh --apparent-size {folder}/* | sort -h"


def quota(evidence: RunEvidence) -> Cause | None:
    """The user's or the project's share of a disk is used up."""
    line = evidence.root_cause_line("quota") or _before_torn(evidence, "quota")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    match = _PATH.search(line.text)
    what = f" (writing {match.group(1)})" if match else ""
    path = match[1] if match else ""
    folder = str(evidence.folder.root)
    if path and not path.startswith(f"{folder}/"):
        folder = shlex.quote("/".join(path.split("/")[:3]))  # /home/ada, /scratch/ada
    steps = (
        LARGE.format(folder=folder),
        _fewer(evidence),
        "or write elsewhere: --runs-dir; the hub's cache moves with HF_HOME",
        advice.resume(evidence),
    )
    headline = f"your quota on the disk is used up{what}"
    return Cause(headline, steps, frames(evidence, line), rank, host)


def full(evidence: RunEvidence) -> Cause | None:
    """A disk is full."""
    if evidence.root_cause_line("shared_memory") or SEMAPHORE in evidence.last_words:
        return None
    line = evidence.root_cause_line("disk_full") or _before_torn(evidence, "disk_full")
    line = line or evidence.root_cause_line("torn_write")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    match = (_COPIED_TO.search(line.text) or _PATH.search(line.text)
             or _WRITTEN.search(line.text))  # fmt: skip
    what = f" (writing {match.group(1)})" if match else ""
    sure = not patterns.has("torn_write", line.text.encode())
    torn = "a file could not be written whole: most likely the disk or a quota is full"
    headline = f"a disk is full{what}" if sure else torn
    steps = (
        *_own_disk(match[1] if match else "", host),
        f"how full: df -h {evidence.folder.root}; and /tmp and /dev/shm on the node",
        LARGE.format(folder=evidence.folder.root),
        _fewer(evidence),
        advice.resume(evidence),
    )
    return Cause(headline, steps, frames(evidence, line), rank, host)


def _own_disk(path: str, host: str | None) -> tuple[str, ...]:
    """Return what to do where it is a disk of the node itself."""
    if not re.match(r"/(?:var/)?tmp/", path):
        return ()
    where = f" on {host}" if host else " on the node"
    return (f"it is a disk of the node: see df -h /tmp{where}; TMPDIR in the job names another",)


def _fewer(evidence: RunEvidence) -> str:
    """Return how less is written to the disk: of a download the cache's place, else checkpoints."""
    cache = next((name for part, name in _CACHES if part in evidence.last_words), "")
    if cache:
        return f"it was writing a cache: {cache} moves it to a larger disk"
    if _DOWNLOADED.search(evidence.last_words):
        return "it was downloading: HF_HOME moves the hub's cache to a larger disk"
    if evidence.record.program:
        return "keep fewer checkpoints: save_total_limit of transformers' Trainer, or your program"
    return "keep fewer checkpoints: checkpoints.keep=1"


def _before_torn(evidence: RunEvidence, name: str) -> Clue | None:
    """Return what was said of a disk before a file turned out torn, or a command failed."""
    torn = evidence.root_cause_line("json_error", "bad_row", "torn_file")
    command = "CalledProcessError" in evidence.last_words  # what it said stands above
    return evidence.context_line(name) if torn or command else None


def frames(evidence: RunEvidence, line: Clue) -> tuple[Clue, ...]:
    """Return the line with the traceback that led to it: it shows what was being written."""
    frames = traceback(evidence.culprit) if evidence.culprit and evidence.explained else ()
    return frames if line.text in [frame.text for frame in frames] else (line, *frames)


def shared_cache(evidence: RunEvidence) -> Cause | None:
    """Ranks of several nodes compile into one cache on shared storage, and remove each other's."""
    line = evidence.root_cause_line("stale", "missing_file", "busy_file", "missing_library")
    if line is None:
        return None
    variable = next((name for part, name in _COMPILED if part in line.text), None)
    if variable is None or OF_NODE.search(line.text) or "-> '/dev/shm" in line.text:
        return None
    if patterns.has("missing_library", line.text.encode()) and "Stale" not in line.text:
        return None
    steps = (
        f"give each node its own cache: {variable}=/tmp/$USER-$SLURM_JOB_ID in the job",
        advice.resume(evidence),
    )
    headline = f"ranks disturbed each other in a cache of compiled kernels: {line.text}"
    return Cause(headline, steps, (line,), *advice.who(evidence, line))


def broken(evidence: RunEvidence) -> Cause | None:
    """A file system went away under the job, or cannot be written to."""
    line = evidence.root_cause_line(
        "stale", "host_down", "read_only", "io_error", "no_locks", "slow_disk"
    )
    if line is None and _LOCKING.search(evidence.last_words):
        line = evidence.root_cause_line("no_lock_call")
    if line is None:
        return None
    rank, host = advice.who(evidence, line)
    headline, step = f"a file system failed: {line.text}", (
        "see that the folder can be written to from the node"
    )  # fmt: skip
    again = advice.elsewhere(evidence, host)
    if patterns.has("no_locks", line.text.encode()) or _LOCKING.search(evidence.last_words):
        headline = f"the file system gives no locks: {line.text}"
        step = (
            "the cache must lie where files can be locked: HF_HOME on another file system; tell "
            "your site's support (NFS's lock service, or Lustre mounted without flock)"
        )
        if "unable to lock file" in line.text:
            headline = f"another process holds a file, or it cannot be locked here: {line.text}"
            step = (
                "HDF5 locks what it opens: HDF5_USE_FILE_LOCKING=FALSE in the job where the file "
                "is only read; else another process holds it"
            )
        again = advice.resume(evidence)
    elif patterns.has("io_error", line.text.encode()):
        step = (
            "the disk or the server under it fails: tell your site's support the node and the file"
        )
    elif _GONE.search(line.text):
        step = "the node lost its file system: tell your site's support which node it was"
    elif "tale file handle" in line.text or "Errno 116" in line.text:
        step = (
            "a file was removed, or written anew, on another node while it was open here: no two "
            "jobs or ranks may write one cache at once; HF_HOME or HF_DATASETS_CACHE of its own"
        )
        if not _CACHED.search(line.text):
            step = (
                "the file was removed, or written anew, from another node, or its server began "
                "anew: see it from the node, ls -l; tell your site's support if it comes again"
            )
        again = advice.resume(evidence)
    elif patterns.has("read_only", line.text.encode()):
        step = (
            "in a container only what is bound to be written can be (--bind, --container-mounts); "
            "else the node's disk, or the whole file system, was mounted to be read: touch a file "
            "there from the node"
        )
    return Cause(headline, (step, again), (line,), rank, host)


def no_permission(evidence: RunEvidence) -> Cause | None:
    """A file or folder may not be read or written."""
    line = evidence.root_cause_line("no_permission")
    if line is None or line.text.startswith(("slurmstepd", "srun: ")):
        return None  # what Slurm itself may not do is no file of the user's
    match = _PATH.search(line.text)
    where = match.group(1) if match else ""
    headline = f"no permission: {where}" if where else line.text
    steps = [f"whose it is: ls -ld {shlex.quote(where)}"] if where else []
    if re.search(r"hub/|huggingface|\.locks|\.cache", where):
        steps.append("a cache of others cannot be written to: HF_HOME must name a folder of yours")
    return advice.cause(evidence, line, headline, *steps)


def not_shared(evidence: RunEvidence) -> Cause | None:
    """The run folder is not there on a node."""
    line = evidence.root_cause_line("not_shared")
    if line is None:
        return None
    steps = ("use a folder that all nodes see: --runs-dir, or HPCLAUNCH_RUNS_DIR",)
    text = line.text.removeprefix("hpclaunch: ").partition(": --runs-dir")[0]
    return Cause(f"the run folder is not on shared storage: {text}", steps, (line,))
