"""Containers that could not be made of their image, on the node."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_PREFIX = re.compile(r"^(?:slurmstepd\S*: )?(?:error: )?(?:pyxis: +)?(?:FATAL: +)?")
_ENDED = re.compile(r"srun: error: (\S+): tasks? \S+: Exited")
_REASONS = (
    (re.compile(r"read the squashfs image|bad superblock|corrupt|squashfs filesystem: invalid"),
     "its image is damaged, or was not copied to its end",
     "copy or build the image anew, and compare its size and sha256sum with the source's"),
    (re.compile(r"squashfuse\w* not found|/dev/fuse|fusermount|fuse: device"),
     "the node cannot mount images as a user (FUSE)",
     "tell your site's support; an image unpacked into a folder needs no mount: apptainer build "
     "--sandbox"),
    (re.compile(r"loop device"),
     "the node has no loop device left to mount the image",
     "tell your site's support; an image unpacked into a folder needs none: apptainer build "
     "--sandbox"),
    (re.compile(r"user namespace|create container process: No space"),
     "the node lets users make no namespaces",
     "tell your site's support: user.max_user_namespaces, or an Apptainer with setuid"),
    (re.compile(r"toomanyrequests"),
     "its registry limits how often images are pulled",
     "pull it once on the login node, into a file: apptainer pull, or enroot import; or log in to "
     "the registry"),
    (re.compile(r"nvidia-container-cli: (?:initialization|detection) error"),
     "the node's GPU driver did not answer",
     "see nvidia-smi on the node, and tell your site's support"),
    (re.compile(r"mount source \S+ doesn't exist|No such file or directory.*(?:bind|mount)"
                r"|(?:bind|mount).*[Nn]o such file or directory"),
     "a folder that is to be bound into it is not there on the node",
     "see it from a node: ls -ld of the folder; --bind and --container-mounts name them"),
    (re.compile(r"destination \S+ doesn't exist in container"),
     "its image has no folder to bind there",
     "bind it to a folder that the image has, or let one be made: underlay or overlay of Apptainer "
     "(--writable-tmpfs), which the site may have switched off"),
    (re.compile(r"failed to execute"),
     "its image has no such program",
     "an image without a shell, or with an entry point of its own: --no-container-entrypoint, or "
     "an image that has it"),
    (re.compile(r"open image|no such file", re.IGNORECASE),
     "its image is not there on the node",
     "see it from a node: ls -l of the image; it must be on storage that the nodes see"),
    (re.compile(r"No space left"),
     "there is no room to unpack its image",
     "ENROOT_DATA_PATH and ENROOT_CACHE_PATH, or APPTAINER_TMPDIR and APPTAINER_CACHEDIR, move it"),
    (re.compile(r"ermission denied|peration not permitted"),
     "the node does not allow it",
     "see who may read the image and what is bound into it: ls -ld of each; and tell your site's "
     "support"),
)  # fmt: skip
"""What the runtime says of it, what it means, and what to do."""


def not_created(evidence: RunEvidence) -> Cause | None:
    """Apptainer, Singularity or enroot did not start the container that the ranks run in."""
    line = evidence.root_cause_line("container")
    if line is None or evidence.ranks:
        return None
    found = ((why, step) for pattern, why, step in _REASONS if pattern.search(line.text))
    why, step = next(found, ("", "start it on the node by hand: srun --pty, then the same command"))
    words = _PREFIX.sub("", line.text)
    headline = f"the container could not be started{f': {why}' if why else ''}: {words}"
    if "GPU driver" in why:
        node = _ENDED.search(evidence.log.end())
        again = advice.elsewhere(evidence, node[1] if node else None)
        return Cause(headline, (step, again), (line,), host=node[1] if node else None)
    return advice.cause(evidence, line, headline, step)
