"""Where llm-compressor is installed: an environment of its own, beside the job's.

It needs an older Transformers than the training. PyTorch and what else fits is the job's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

REQUIREMENT = "llmcompressor==0.14.*"
COMPLETE = "complete"
"""File in the environment that is written last."""


def environment_of(prefix: Path, variables: Mapping[str, str] = os.environ) -> Path:
    """Return the environment that belongs to the Python environment `prefix`; it may not be there.

    In the cache folder, whose place the shell's variables may change.
    """
    base = Path(variables.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    mark = hashlib.sha256(f"{prefix.resolve()} {REQUIREMENT}".encode()).hexdigest()[:12]
    return base / "hpclaunch" / "environments" / f"llmcompressor-{mark}"


def is_complete(environment: Path) -> bool:
    """Return whether an environment is there and was made to its end."""
    return (environment / COMPLETE).is_file()
