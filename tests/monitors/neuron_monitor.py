"""A stand-in for AWS's neuron-monitor: prints reports as the Neuron Monitor User Guide has them.

A trn1.2xlarge: one device of two NeuronCores, the first of them in use.
"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

GIB = 2**30

REPORT: dict[str, Any] = {
    "neuron_runtime_data": [
        {
            "pid": 4711,
            "address": "",
            "neuron_runtime_tag": "4711",
            "error": "",
            "report": {
                "neuroncore_counters": {
                    "period": 1.0,
                    "neuroncores_in_use": {
                        "0": {"neuroncore_utilization": 87.25, "flops": 1234567891011}
                    },
                    "error": "",
                },
                "memory_used": {
                    "period": 1.0,
                    "neuron_runtime_used_bytes": {
                        "host": 6997643264,
                        "neuron_device": 9 * GIB,
                        "usage_breakdown": {
                            "host": {"application_memory": 6996594688, "tensors": 0},
                            "neuroncore_memory_usage": {
                                "0": {
                                    "constants": 0,
                                    "model_code": GIB,
                                    "model_shared_scratchpad": 0,
                                    "runtime_memory": 0,
                                    "tensors": 8 * GIB,
                                }
                            },
                        },
                    },
                    "loaded_models": [],
                    "error": "",
                },
            },
        }
    ],
    "system_data": {
        "neuron_hw_counters": {
            "period": 1.0,
            "neuron_devices": [
                {
                    "neuron_device_index": 0,
                    "mem_ecc_corrected": 7,
                    "mem_ecc_uncorrected": 2,
                    "sram_ecc_uncorrected": 0,
                    "sram_ecc_corrected": 0,
                }
            ],
            "error": "",
        }
    },
    "instance_info": {"instance_type": "trn1.2xlarge", "error": ""},
    "neuron_hardware_info": {
        "neuron_device_type": "trainium",
        "neuroncore_version": "v2",
        "neuron_device_count": 1,
        "neuron_device_memory_size": 32 * GIB,
        "neuroncore_per_device_count": 2,
        "error": "",
    },
}


def report(**changes: Any) -> dict[str, Any]:
    """A report with other values at its top."""
    return deepcopy(REPORT) | changes


def without_program() -> dict[str, Any]:
    """A report while nothing runs on the cores."""
    return report(neuron_runtime_data=[])


def stand_in(folder: Path, *reports: dict[str, Any] | str, then: str = "last") -> Path:
    """Write a `neuron-monitor` that prints `reports` 0.1 s apart.

    then: `last` prints the last one over and over, `end` ends with code 3, `hang` prints no more.
    It refuses a config that does not ask for a report a second.
    """
    lines = [each if isinstance(each, str) else json.dumps(each) for each in reports]
    path = folder / "neuron-monitor"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, sys, time\n"
        "config = json.load(open(sys.argv[sys.argv.index('-c') + 1]))\n"
        "assert config['period'] == '1s' and config['neuron_runtimes'][0]['metrics']\n"
        f"lines, then = {lines!r}, {then!r}\n"
        "for line in lines:\n"
        "    print(line, flush=True)\n"
        "    time.sleep(0.1)\n"
        "while then == 'last':\n"
        "    print(lines[-1], flush=True)\n"
        "    time.sleep(0.1)\n"
        "if then == 'hang':\n"
        "    time.sleep(60)\n"
        "sys.exit(3)\n"
    )
    path.chmod(0o755)
    return path
