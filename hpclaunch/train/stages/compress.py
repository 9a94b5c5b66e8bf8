"""int8 and int4 as compressed-tensors, for vLLM: by llm-compressor, in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.run.compressor import environment_of, is_complete
from hpclaunch.shipped import shipped
from hpclaunch.train import phases
from hpclaunch.train.stages.inputs import Weights
from hpclaunch.train.stages.perplexity import MAX_LENGTH

LAST_LINES = 20
"""Lines of its output that the log gets where it fails."""
_OWN = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
"""Variables by which its Python would find other packages first."""


def write_compressed(
    whole: Weights, folder: Path, scratch: Path, to: str, texts: list[str], measured: list[str]
) -> dict[str, Any]:
    """Write the quantized model into a folder; return its size, and its perplexity on `measured`.

    `texts`: to calibrate int4 with; without any its weights are rounded to the nearest. Raises
    UserError where llm-compressor is not installed, RuntimeError where it fails.
    """
    environment = environment_of(Path(sys.prefix))
    if not is_complete(environment):
        raise UserError(
            f"llm-compressor is not installed: no {environment}",
            "start the same command on a login node: it makes it, once",
        )
    scratch.mkdir(parents=True, exist_ok=True)
    answer = scratch / "answer.json"
    request = {
        "model": whole.model,
        "out": str(folder),
        "to": to,
        "texts": texts,
        "measured": measured,
        "max_length": MAX_LENGTH,
        "answer": str(answer),
    }
    phases.begin(f"quantizing to {to} with llm-compressor")
    _run(environment, request)
    found = json.loads(answer.read_text("utf-8"))
    shards = list(folder.glob("*.safetensors"))
    way = "GPTQ" if to == "int4" and texts else "rounded to the nearest"
    scheme = "W8A8" if to == "int8" else "W4A16"
    return {
        "bytes": sum(path.stat().st_size for path in shards),
        "files": len(shards),
        "type": f"{to}, {scheme}, {way}",
        "calibration_rows": len(texts),
        "perplexity_after": found["perplexity"],
    }


def _run(environment: Path, request: dict[str, Any]) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in _OWN}
    child = shipped("train", "stages") / "compress_child.py"
    process = subprocess.Popen(
        [str(environment / "bin" / "python"), "-P", str(child)],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - PIPE
    process.stdin.write(json.dumps(request))
    process.stdin.close()
    last: deque[str] = deque(maxlen=LAST_LINES)
    for number, line in enumerate(process.stdout, 1):
        last.append(line)
        phases.count(number, None, "lines of its output")
    if process.wait():
        sys.stderr.write("".join(last))
        line = next((each.strip() for each in reversed(last) if each.strip()), "no output")
        raise RuntimeError(f"llm-compressor failed: {line[:300]}")
