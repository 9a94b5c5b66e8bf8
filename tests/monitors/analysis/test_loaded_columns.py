"""A finding can ask only for columns that the report loads, and every finding is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitors.analysis import findings
from monitors.analysis.columns import GPU_LOADED, HOST_LOADED
from monitors.analysis.events import Events
from monitors.analysis.evidence import Evidence, UnknownColumn
from monitors.analysis.summary import Report
from tests.monitors.judging import job


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    found = job(tmp_path_factory.mktemp("job"), nodes=1, gpus=1, seconds=60)
    assert found.timeline is not None
    return Evidence(found.timeline, found.report, found.events)


def test_a_column_that_is_not_loaded_fails(evidence: Evidence) -> None:
    message = "no column 'dram_pct' of a GPU is loaded"
    with pytest.raises(UnknownColumn, match=message):
        evidence.each_gpu("dram_pct")
    with pytest.raises(UnknownColumn, match=message):
        evidence.peak(evidence.gpus["n1 GPU 0"], "dram_pct")
    for ask in (evidence.each_node, evidence.shares_of_nodes):
        with pytest.raises(UnknownColumn, match="of a node is loaded"):
            ask("sm_pct")
    with pytest.raises(UnknownColumn):
        evidence.during(evidence.nodes["n1"], "sm_pct")


def test_it_fails_on_a_job_without_gpus_too(tmp_path: Path) -> None:
    found = job(tmp_path, nodes=1, gpus=0, seconds=60)
    assert found.timeline is not None
    evidence = Evidence(found.timeline, Report("here"), Events())
    assert evidence.each_gpu("sm_pct") == {}
    with pytest.raises(UnknownColumn):
        evidence.each_gpu("dram_pct")


def test_columns_that_are_made_are_declared(evidence: Evidence) -> None:
    for gpu in evidence.gpus.values():
        assert set(gpu.bands) <= GPU_LOADED
    for node in evidence.nodes.values():
        assert set(node.bands) <= HOST_LOADED


def test_every_rule_is_asked() -> None:
    package = Path(findings.__path__[0])
    asked = (package / "__init__.py").read_text()
    for path in package.glob("*.py"):
        for name in re.findall(
            r"^def ([a-z]\w*)\(.*\) -> Finding \| None:", path.read_text(), re.M
        ):
            assert re.search(rf"\b{path.stem}\.{name}\b", asked), (
                f"{path.stem}.{name} is not in RULES of {package / '__init__.py'}"
            )
