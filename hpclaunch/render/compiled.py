"""The script's template as compiled code, kept as Python keeps that of its modules.

To compile it anew takes some 10 ms of every submission.
"""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress
from pathlib import Path

from jinja2.bccache import Bucket, FileSystemBytecodeCache


class Compiled(FileSystemBytecodeCache):
    """Compiled templates in one folder; without it, or with damaged files, all works but slower."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`: as trusted as the code beside it, for they are code too."""
        super().__init__(str(folder))

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what was kept, if it is whole and of this template's text."""
        try:
            super().load_bytecode(bucket)
        except (OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError):
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it, unless Python is told to keep none of its own, or there is no right to."""
        if sys.dont_write_bytecode:
            return
        with suppress(OSError):
            Path(self.directory).mkdir(exist_ok=True)
            super().dump_bytecode(bucket)
