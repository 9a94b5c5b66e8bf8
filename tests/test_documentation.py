"""Every command of the documentation is run, or, where it would start a job, run dry."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpclaunch.site.load import load_site
from monitors.exports.export import export as write_export
from tests.cli.running import ROOT, Home
from tests.monitors import traces

PAGES = sorted([ROOT / "README.md", *(ROOT / "examples").glob("**/README.md")])
STARTS = ("sbatch", "srun", "local", "preflight")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.M | re.S):
            if kind == language:
                found.append(Block(str(page.relative_to(ROOT)), kind, text))
    return found


def lines(first_word: str) -> list[str]:
    """All command lines beginning with a word, each once."""
    said = [line for block in blocks("bash") for line in block.text.splitlines()]
    return sorted({line for line in said if line.split()[:1] == [first_word]})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home such as the documentation assumes: a saved token, a file of questions, a run."""
    home = Home(tmp_path, {"HPCLAUNCH_RUNS_DIR": str(tmp_path / "runs")})
    token = tmp_path / ".cache/huggingface/token"
    token.parent.mkdir(parents=True)
    token.write_text("saved")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "examples/own-data/questions.jsonl", tmp_path / "questions.jsonl")
    assert home.call("recipes", "cp", "llama3-8b-lora", "mine.yaml").code == 0
    assert home.call("sbatch", "tiny", "--no-submit", "--name", "own-data").code == 0
    (tmp_path / "runs/own-data/logs/job-1.out").write_text("0: [gpu0]: step 1\n")
    (tmp_path / "runs/own-data/exit_code").write_text("0\n")
    metrics = traces.record(tmp_path / "runs/own-data/metrics", nodes=1, gpus=1, seconds=20)
    shutil.copytree(metrics, tmp_path / "rec")
    (tmp_path / "train.py").write_text("print('trained')")
    for form, name in (("dmon", "dmon.txt"), ("vmstat", "vmstat.txt")):
        with (tmp_path / name).open("w") as file:
            write_export(metrics, form, None, stream=file)
    return home


@pytest.mark.parametrize("line", lines("hpclaunch"))
def test_a_documented_command(home: Home, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if "cp" in words:
        (home.folder / "mine.yaml").unlink()
    if words[0] in STARTS:
        words = [word for word in words if word not in {"--dry-run", "--shell"}]
        words.insert(1, "--dry-run")
    if words[0] == "rehearse":  # the model is on the hub, which no test asks
        home = Home(home.folder, home.variables | {"HF_HUB_OFFLINE": "1"})
    done = home.call(*words)
    if words[0] == "rehearse":
        assert done.out.startswith("ok    plan")
    elif words[0] == "resume":  # the run of this home is done
        assert "own-data is done" in done.err
    elif "--serve" in words:
        assert "own-data is over: done" in done.err
    elif words[0] == "report":
        assert "Nothing stands out." in done.out
        assert done.code == 0, done.err
    else:
        assert done.code == 0, done.err
    if words[0] in STARTS:
        assert done.out.startswith("#!/bin/bash")


@pytest.mark.parametrize("line", lines("make"))
def test_a_documented_make_target(line: str) -> None:
    words = shlex.split(line, comments=True)
    done = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_documented_site_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "hpclaunch/sites"
    folder.mkdir(parents=True)
    found = blocks("yaml")
    assert len(found) == 2
    for number, block in enumerate(found):
        (folder / f"mine-{number}.yaml").write_text(block.text)
        assert load_site(f"mine-{number}").account


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists() or "://" in target, f"{page}: {target}"


def test_the_python_example_needs_what_is_exported() -> None:
    import hpclaunch

    (block,) = [b for b in blocks("python") if "hpclaunch" in b.text]
    (names,) = re.findall(r"from hpclaunch import (.+)", block.text)
    assert set(names.split(", ")) <= set(hpclaunch.__all__)
    for name in hpclaunch.__all__:
        assert getattr(hpclaunch, name)


def test_the_opening_commands_are_the_two() -> None:
    first = blocks("bash")
    opening = next(block for block in first if block.page == "README.md")
    assert [line.split("#")[0].strip() for line in opening.text.splitlines()] == [
        "make demo",
        "make test",
    ]
