"""A pickle that does something."""

from __future__ import annotations

import os
from typing import Any


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("EXECUTED",))
