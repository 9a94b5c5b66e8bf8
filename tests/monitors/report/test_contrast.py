"""The page's colours by WCAG 2: level AA for text (4.5), and for what is drawn (3)."""

from __future__ import annotations

import re
from importlib import resources

import pytest

STYLE = resources.files("monitors.report").joinpath("templates/report.css").read_text()
TEXT = ("ink", "quiet", "flag", "hue0")
"""Colours that text is written in; links are hue0, a flagged GPU's row is flag."""
DRAWN = ("flag", "muted", "limit", "checkpoint", *(f"hue{n}" for n in range(8)))


def theme(number: int) -> dict[str, str]:
    """The colours of the light theme (0), or of the dark one (1)."""
    block = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[number]
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("number", [0, 1], ids=["light", "dark"])
def test_contrast_is_aa(number: int) -> None:
    colours = theme(number)
    pairs = [(name, ground, 4.5) for name in TEXT for ground in ("page", "card")]
    pairs += [(name, ground, 3.0) for name in DRAWN for ground in ("page", "card")]
    low = {
        (name, ground): round(contrast(colours[name], colours[ground]), 2)
        for name, ground, least in pairs
        if contrast(colours[name], colours[ground]) < least
    }
    assert low == {}


def test_every_colour_has_a_value_in_both_themes() -> None:
    assert theme(0).keys() == theme(1).keys()
    used = set(re.findall(r"var\(--(\w+)\)", STYLE))
    assert used <= theme(0).keys()
