"""Whatever stands in a run's files, `why` gives an answer."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpclaunch.cli.why import _text
from hpclaunch.diagnose.causes import diagnose
from hpclaunch.diagnose.packages import package_of
from hpclaunch.diagnose.requirements import requirement
from hpclaunch.diagnose.run_evidence import gather
from hpclaunch.run.folder import RunFolder
from tests.diagnose import messages
from tests.run.making import record

TEXTS = [value for value in vars(messages).values() if isinstance(value, str) and len(value) > 20]
FILES = (
    "logs/job-8.out",
    "logs/nodes",
    "logs/first-failed-node",
    "logs/sidecar.log",
    "logs/nccl-node1-3.log",
    "logs/rank-0.error.json",
    "logs/ranks/node-0/none_x/attempt_0/1/stderr.log",
    "metrics/node1.samples.jsonl",
    "events.jsonl",
    "recipe.yaml",
    "cancelled",
)
STATES = ["written", "queued", "running", "done", "stopped", "failed", "cancelled", "timed out",
          "unknown"]  # fmt: skip

numbers = st.integers() | st.floats() | st.text(max_size=5) | st.none() | st.lists(st.none())
documents = st.dictionaries(
    st.sampled_from(["rank", "local_rank", "host", "time", "error", "fix", "traceback", "kind",
                     "cgroup_mem_mib", "cgroup_limit_mib", "event", "step", "text", "why"]),
    numbers,
).map(lambda value: json.dumps({"host": value, **value}).encode())  # fmt: skip
failures = st.fixed_dictionaries(
    dict.fromkeys(("rank", "host", "time", "error"), numbers)
    | {"local_rank": numbers, "fix": numbers, "collateral": st.booleans(), "traceback": numbers}
).map(lambda value: json.dumps(value).encode())
lines = st.sampled_from(TEXTS).map(str.encode) | st.binary(max_size=60) | documents
contents = st.lists(lines, max_size=5).map(b"\n1: [gpu1]:".join)


@given(
    files=st.dictionaries(st.sampled_from(FILES), contents),
    failure=st.none() | failures,
    state=st.sampled_from(STATES),
    slurm=st.sampled_from(["", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"]),
    reason=st.text(max_size=20),
    code=st.none() | st.integers(-99, 400),
    program=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_an_answer_is_always_given(
    files: dict[str, bytes],
    failure: bytes | None,
    state: str,
    slurm: str,
    reason: str,
    code: int | None,
    program: bool,
) -> None:
    if failure is not None:
        files = files | {"logs/rank-1.error.json": failure}
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        kept = record(job_id="8", program=["x"] if program else [])
        found = diagnose(gather(RunFolder(Path(place)), kept, state, slurm, reason, code))
    assert found.cause.headline.strip()
    assert found.cause.advice
    json.dumps(asdict(found), default=str)
    screen = _text(found)
    assert screen.isprintable() or all(line.isprintable() for line in screen.split("\n")), screen
    assert len(screen.split("\n")) < 40


@pytest.mark.parametrize(
    "text",
    [
        "The '-revil.txt' distribution was not found", "The '--pre' is required",
        "'-revil.txt' is not installed", "requires the -revil library", "pip install -revil",
        "/venv/site-packages/-revil/x.py",
    ],
)  # fmt: skip
def test_no_name_in_a_log_becomes_an_option_of_pip(text: str) -> None:
    assert not requirement(text).command.removeprefix("python -m pip install ").startswith("-")
    assert not package_of(text).startswith("-")
