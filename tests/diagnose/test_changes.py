"""What to change about a run is told in the words of its recipe and of the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpclaunch.diagnose.changes import LEAVE_OUT, OF_NODES, changes
from hpclaunch.run.folder import RunFolder
from monitors.analysis.evidence import Evidence
from tests.run.making import record


def test_changes_are_words_to_type(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.recipe.write_text(
        "name: a\nmodel: {name: a/b}\ndata: {name: c/d}\nmethod: {kind: lora}\n"
        "training: {dataloader_num_workers: 3}\ncheckpoints: {every_steps: 10}\n"
    )
    found = changes(folder, record(nodes=2, mode="sbatch", resources={"cpus": 8}))
    assert "--cpus (now 8)" in found["few-cores"]
    assert "training.dataloader_num_workers=6 (now 3)" in found["data"]
    assert "checkpoints.every_steps=40 (now 10)" in found["idle"]
    assert {found[key] for key in OF_NODES} == {
        "Leave it out of the next job, --exclude {nodes}, and tell the site."
    }
    assert not changes(folder, record(nodes=1, mode="sbatch")).keys() & set(OF_NODES)
    assert not changes(folder, record(nodes=2, mode="local")).keys() & set(OF_NODES)
    program = changes(folder, record(nodes=2, mode="sbatch", program=["train.py"]))
    assert "data" not in program
    assert "slow-peer" in program


def test_a_fix_that_names_nodes_holds_only_where_they_are_known() -> None:
    nothing: Any = None
    evidence = Evidence(nothing, nothing, fixes={"errors": LEAVE_OUT})
    assert "--exclude n2,n3," in evidence.fix("errors", "Tell the site.", ["n2", "n3"])
    for unknown in ([], [""]):
        assert evidence.fix("errors", "Tell the site.", unknown) == "Tell the site."
