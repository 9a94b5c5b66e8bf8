"""NVIDIA's binding to NVML, where it is installed, and its answers as plain values."""

from __future__ import annotations

from typing import Any

NO_BINDING = ""
"""Why there is no binding; empty where there is one."""
nv: Any = None
try:
    import pynvml
except ModuleNotFoundError:  # a machine without GPUs need not have it
    NO_BINDING = "the Python package nvidia-ml-py is not installed"
except Exception as error:  # nor may a broken one cost the host's record
    NO_BINDING = f"pynvml cannot be imported: {type(error).__name__}: {error}"
else:
    nv = pynvml

MIB = 1024 * 1024


def for_good() -> tuple[int, ...]:
    """Errors that will be the same at every later tick."""
    return (
        nv.NVML_ERROR_NOT_SUPPORTED,
        nv.NVML_ERROR_FUNCTION_NOT_FOUND,
        nv.NVML_ERROR_INVALID_ARGUMENT,
        nv.NVML_ERROR_NO_PERMISSION,
    )


def whole(union: Any, kind: int) -> int:
    """A number out of NVML's union of number types."""
    by_type = (union.dVal, union.uiVal, union.ulVal, union.ullVal, union.sllVal, union.siVal)
    return int(by_type[kind] if kind < len(by_type) else union.usVal)


def first(pair: Any) -> int | None:
    """The first of several values."""
    return None if pair is None else int(pair[0])


def scaled(value: int | None, divisor: int) -> float | None:
    """A value in a larger unit, to a tenth of it."""
    return None if value is None else round(value / divisor, 1)


def watts(milliwatts: float) -> int:
    """Whole watts: no GPU measures its power to less than a few."""
    return round(milliwatts / 1000)


def text(value: Any) -> str | None:
    """Text of any version of the binding."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
