"""One report of `neuron-monitor`, AWS's program that samples Trainium, as values of NeuronCores.

The format is in the Neuron Monitor User Guide of the AWS Neuron documentation. A NeuronCore is what
a rank trains on, so it is a row here, as a GPU is elsewhere. A value of another type than the guide
says is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from monitors.recorder.devices.binding import MIB
from monitors.records import GpuInfo, GpuSample

MOST_CORES = 256
"""No instance has more NeuronCores."""

_ECC = ("mem_ecc_uncorrected", "sram_ecc_uncorrected")


def core_table(report: Mapping[str, Any]) -> tuple[tuple[GpuInfo, ...], str]:
    """Return the node's NeuronCores; where there are none, why."""
    hardware = _object(report, "neuron_hardware_info")
    devices = _count(hardware, "neuron_device_count")
    each = _count(hardware, "neuroncore_per_device_count")
    if not devices or not each or devices * each > MOST_CORES:
        return (), _error(hardware) or "neuron-monitor reports no Neuron device"
    name = " ".join(("AWS NeuronCore", *_kinds(report, hardware)))
    memory = _count(hardware, "neuron_device_memory_size")
    total = round(memory / each / MIB, 1) if memory else None
    cores = range(devices * each)
    return tuple(GpuInfo(index, name=name, memory_total_mib=total) for index in cores), ""


def core_samples(report: Mapping[str, Any], cores: range | list[int]) -> tuple[GpuSample, ...]:
    """Return utilization and memory of each of `cores`.

    A core that no program uses is idle; it is unknown where a program's values are missing.
    """
    busy, held = _utilization(report), _memory(report)
    return tuple(
        GpuSample(
            index,
            sm_pct=None if busy is None else min(100.0, round(busy.get(index, 0.0), 1)),
            memory_used_mib=None if held is None else round(held.get(index, 0.0) / MIB, 1),
        )
        for index in cores
    )


def ecc_errors(report: Mapping[str, Any]) -> dict[str, int]:
    """Return the uncorrected memory errors that the report names, by device and memory.

    The guide does not say from when they are counted.
    """
    group = _object(_object(report, "system_data"), "neuron_hw_counters")
    devices = group.get("neuron_devices")
    found: dict[str, int] = {}
    for device in devices if isinstance(devices, list) else []:
        index = _count(device, "neuron_device_index")
        for name in _ECC:
            errors = _count(device, name)
            if index is not None and errors is not None:
                found[f"device {index} {name}"] = errors
    return found


def visible_cores(text: str, count: int) -> list[int]:
    """Return the NeuronCores of this job: `NEURON_RT_VISIBLE_CORES` (`0-3`, `0,2`) where set.

    All of the node's where it is empty, or names none of them.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if ends is None:
            return list(range(count))
        chosen.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return [index for index in range(count) if index in chosen] or list(range(count))


def _utilization(report: Mapping[str, Any]) -> dict[int, float] | None:
    """Percent by core, over all programs; None where one program's are missing."""
    found: dict[int, float] = {}
    for group in _groups(report, "neuroncore_counters"):
        cores = None if _error(group) else group.get("neuroncores_in_use")
        if not isinstance(cores, dict):
            return None
        for index, values in cores.items():
            percent = _number(values, "neuroncore_utilization")
            if percent is None or not _is_index(index):
                return None
            found[int(index)] = found.get(int(index), 0.0) + percent
    return found if isinstance(report.get("neuron_runtime_data"), list) else None


def _memory(report: Mapping[str, Any]) -> dict[int, float] | None:
    """Bytes by core, over all programs; None where one program's are missing."""
    found: dict[int, float] = {}
    for group in _groups(report, "memory_used"):
        used = _object(_object(group, "neuron_runtime_used_bytes"), "usage_breakdown")
        cores = None if _error(group) else used.get("neuroncore_memory_usage")
        if not isinstance(cores, dict):
            return None
        for index, values in cores.items():
            parts = [_number(values, name) for name in values] if isinstance(values, dict) else []
            known = [part for part in parts if part is not None]
            if not parts or len(known) < len(parts) or not _is_index(index):
                return None
            found[int(index)] = found.get(int(index), 0.0) + sum(known)
    return found if isinstance(report.get("neuron_runtime_data"), list) else None


def _groups(report: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield a metric group of each program that runs."""
    programs = report.get("neuron_runtime_data")
    for program in programs if isinstance(programs, list) else []:
        yield {} if _error(program) else _object(_object(program, "report"), name)


def _kinds(report: Mapping[str, Any], hardware: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words that name the type: core's version, device, instance (trn1.32xlarge)."""
    instance = _object(report, "instance_info")
    for values, name in (
        (hardware, "neuroncore_version"),
        (hardware, "neuron_device_type"),
        (instance, "instance_type"),
    ):
        word = values.get(name)
        if isinstance(word, str) and re.fullmatch(r"[A-Za-z0-9._-]{1,40}", word):
            yield word


def _object(values: Any, name: str) -> Mapping[str, Any]:
    found = values.get(name) if isinstance(values, dict) else None
    return found if isinstance(found, dict) else {}


def _error(values: Any) -> str:
    """What the program says went wrong, in one short line; '' where all is well."""
    text = values.get("error") if isinstance(values, dict) else None
    if not isinstance(text, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in text)[:200].strip()


def _number(values: Any, name: str) -> float | None:
    found = values.get(name) if isinstance(values, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if 0 <= found < 1e18 else None


def _count(values: Any, name: str) -> int | None:
    found = _number(values, name)
    return None if found is None else int(found)


def _is_index(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,4}", text) is not None
