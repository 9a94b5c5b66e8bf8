"""Three architectures of the support matrix, in one process; `make models` tries all of them."""

from __future__ import annotations

import json
import sys

import pytest

from tests.models.matrix import SUBSET
from tests.train.running import environment, run_program

pytestmark = pytest.mark.train


def test_architectures_are_trained_saved_loaded_and_generate() -> None:
    command = [sys.executable, "-m", "tests.models.matrix", *SUBSET]
    done = run_program(command, 300, environment())
    assert done.code == 0, done.err
    lines = [line for line in done.out.splitlines() if line.startswith("{")]
    results = [json.loads(line) for line in lines]
    assert [result["architecture"] for result in results] == list(SUBSET)
    for result in results:
        assert result["trainable"] > 0
        assert result["changed"], "the adapter in RUN/final changes what the model says"
        assert result["generated"] == 8
        assert not result["tower_changed"]
