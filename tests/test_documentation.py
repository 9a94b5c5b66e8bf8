"""Every command of the pages is run, or, where it would start a job, run dry."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from hpclaunch.site.load import load_site
from monitors.exports.export import export as write_export
from tests.cli.running import ROOT, Home
from tests.monitors import traces

SITE = sorted((ROOT / "docs").rglob("*.md"))
"""The pages that `make docs` builds."""
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "examples").glob("**/README.md")),
    *SITE,
]
STARTS = ("sbatch", "srun", "local", "preflight")
MOST_LINES = 150
"""Of the README: what a reader looks for is found by scrolling once."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str


@cache
def blocks(language: str) -> tuple[Block, ...]:
    found = []
    for page in PAGES:
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.M | re.S):
            if kind == language:
                found.append(Block(str(page.relative_to(ROOT)), kind, text))
    return tuple(found)


def lines(first_word: str) -> list[str]:
    """All command lines beginning with a word, each once."""
    written = [line for block in blocks("bash") for line in block.text.splitlines()]
    return sorted({line for line in written if line.split()[:1] == [first_word]})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home such as the pages assume: a saved token, files of questions, runs."""
    folder = tmp_path_factory.mktemp("documented")
    home = Home(folder, {"HPCLAUNCH_RUNS_DIR": str(folder / "runs")})
    token = folder / ".cache/huggingface/token"
    token.parent.mkdir(parents=True)
    token.write_text("saved")
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples/own-data/questions.jsonl", folder / "questions.jsonl")
    assert home.call("recipes", "cp", "llama3-8b-lora", "mine.yaml").code == 0
    for name in ("first", "own-data"):  # the latter is the newest
        assert home.call("sbatch", "tiny", "--no-submit", "--name", name).code == 0
        (folder / f"runs/{name}/logs/job-1.out").write_text("0: [gpu0]: step 1\n")
        (folder / f"runs/{name}/exit_code").write_text("0\n")
        traces.record(folder / f"runs/{name}/metrics", nodes=1, gpus=1, seconds=20)
    metrics = folder / "runs/own-data/metrics"
    shutil.copytree(metrics, folder / "rec")
    (folder / "train.py").write_text("print('trained')")
    for form, name in (("dmon", "dmon.txt"), ("vmstat", "vmstat.txt")):
        with (folder / name).open("w") as file:
            write_export(metrics, form, None, stream=file)
    return folder


@pytest.fixture
def home(prepared: Path, tmp_path: Path) -> Home:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Home(tmp_path, {"HPCLAUNCH_RUNS_DIR": str(tmp_path / "runs")})


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
    profiles = [block for block in blocks("yaml") if block.text.startswith("extends:")]
    assert len(profiles) == 2
    for number, block in enumerate(profiles):
        (folder / f"mine-{number}.yaml").write_text(block.text)
        assert load_site(f"mine-{number}").account


def test_the_documented_parts_of_recipes(home: Home) -> None:
    parts = [block for block in blocks("yaml") if not block.text.startswith("extends:")]
    assert len(parts) >= 4
    (home.folder / "held-out.jsonl").write_text('{"text": "one"}\n')
    base = "name: part\nmodel: {name: builtin:tiny-llama}\n"
    for block in parts:
        data = "" if "\ndata:" in f"\n{block.text}" else "data: {name: questions.jsonl}\n"
        (home.folder / "part.yaml").write_text(base + data + block.text)
        done = home.call("recipes", "validate", "part.yaml")
        assert done.code == 0, f"{block.page}: {done.err}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists() or "://" in target, f"{page}: {target}"


def test_the_paths_that_contributors_are_sent_to_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("## To do X, touch Y") : text.index("## Glossary")]
    quoted = re.findall(r"`([\w./]+/[\w./]+)`", table)
    assert len(quoted) >= 15
    missing = [path for path in quoted if not list(ROOT.glob(re.sub("[A-Z]{4,}", "*", path)))]
    assert missing == []


def test_the_pages_of_the_site_link_to_nothing_outside_it() -> None:
    for page in SITE:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            inside = (page.parent / target).resolve().is_relative_to(ROOT / "docs")
            assert inside or "://" in target, f"{page}: {target}"


def test_the_python_example_needs_what_is_exported() -> None:
    import hpclaunch

    (block,) = [b for b in blocks("python") if "from hpclaunch import" in b.text]
    (names,) = re.findall(r"from hpclaunch import (.+)", block.text)
    assert set(names.split(", ")) <= set(hpclaunch.__all__)
    for name in hpclaunch.__all__:
        assert getattr(hpclaunch, name)
        assert f"`{name}`" in (ROOT / block.page).read_text()


@pytest.mark.parametrize("number", range(3))
def test_the_documented_ways_to_read_parquet(prepared: Path, tmp_path: Path, number: int) -> None:
    programs = [b.text for b in blocks("python") if "parquet" in b.text]
    assert len(programs) == 3
    write_export(prepared / "rec", "parquet", tmp_path / "exported")
    command = [sys.executable, "-c", programs[number]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "power_w" in done.stdout and "n1" in done.stdout


def test_the_opening_commands_are_the_two() -> None:
    opening = next(block for block in blocks("bash") if block.page == "README.md")
    assert [line.split("#")[0].strip() for line in opening.text.splitlines()] == [
        "make demo",
        "make test",
    ]


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_LINES


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_is_not_current_is_named(tmp_path: Path) -> None:
    for name in ("docs", "hpclaunch", "monitors"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "README.md", tmp_path)
    with (tmp_path / "docs/reference/site.md").open("a") as page:
        page.write("by hand\n")
    command = [sys.executable, str(tmp_path / "docs/generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == "docs/reference/site.md is not current: run `make docs`\n"


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out]
    variables = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        list(map(str, command)),
        cwd=root,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_site_needs_no_network(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = r"<(?:script|img|link)[^>]+(?:src|href)=.(?:https?:)?//[^>]+>"
    found = [
        tag for page in tmp_path.rglob("*.html") for tag in re.findall(loaded, page.read_text())
    ]
    assert found == []


def test_a_broken_anchor_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs/index.md").open("a") as page:
        page.write("\n[gone](guides/plan.md#not-there)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "not-there" in done.stdout + done.stderr


SLURMS_OWN = "While it waits"


@cache
def texts() -> str:
    """All that the code can print: its strings, and its templates and scripts."""
    found = []
    for package in ("hpclaunch", "monitors"):
        for path in (ROOT / package).rglob("*"):
            if path.suffix == ".py":
                tree = ast.parse(path.read_text())
                found += [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
            elif path.suffix in {".j2", ".sh"}:
                found.append(path.read_text())
    return "\n".join(map(str, found))


def screen_words() -> list[str]:
    """The words that the page on troubleshooting quotes, but for Slurm's own."""
    text = (ROOT / "docs/troubleshooting.md").read_text()
    sections = [
        part for part in text.split("\n## ") if not SLURMS_OWN.endswith(part.split("\n")[0])
    ]
    rows = [line for part in sections for line in part.splitlines() if line.startswith("| ")]
    return [quoted for row in rows for quoted in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.mark.parametrize("quoted", screen_words())
def test_words_on_the_screen_are_what_the_code_prints(quoted: str) -> None:
    if quoted.startswith(("Using network", "logs/")):
        return  # NCCL's words, and a file's name
    pieces = [piece.strip(" .('") for piece in re.split(r"\.\.\.|NODE|FILE:LINE: |\bN\b", quoted)]
    for piece in filter(None, pieces):
        assert piece in texts(), f"nothing prints {piece!r}"
