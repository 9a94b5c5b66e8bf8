"""What holds of the pages: links, generated parts, the build of the site, words they quote."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.cli.running import ROOT
from tests.pages import PAGES, SITE

MOST_LINES = 150
"""Of the README: what a reader looks for is found by scrolling once."""
SLURMS_OWN = "While it waits"
"""The section on troubleshooting that quotes Slurm."""


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r'(?:\]\(|(?:href|src)=")([^)#"]+)', page.read_text()):
            assert (page.parent / target).exists() or "://" in target, f"{page}: {target}"


def test_python_takes_no_module_of_the_folder_that_a_reader_is_in() -> None:
    for page in PAGES:
        if page.name != "CONTRIBUTING.md":  # there the checkout is meant
            found = re.findall(r"python3? -m (?:hpclaunch|monitors)\b.*", page.read_text())
            assert not found, f"{page}: python -P"


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
    shutil.copytree(ROOT / "sbatch", tmp_path / "sbatch")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs/index.md").open("a") as page:
        page.write("\n[gone](guides/plan.md#not-there)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "not-there" in done.stdout + done.stderr


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
