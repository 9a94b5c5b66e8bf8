"""The pages of the documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tests.cli.running import ROOT

SITE = sorted((ROOT / "docs").rglob("*.md"))
"""The pages that `make docs` builds."""
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "examples").glob("**/README.md")),
    *SITE,
]


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
