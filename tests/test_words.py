"""Names are the field's words, and numbers have units: what the code must not fall back to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for top in ("hpclaunch", "monitors") for path in (ROOT / top).rglob("*.py"))

RETIRED = {
    "all_shares": "all_gather_object",
    "back": "backward",
    "blame": "node_fault",
    "BLAMED": "node_fault in diagnose/registry.py",
    "Case": "what it is: PlanInput, ...",
    "DECIDED": "decided in diagnose/registry.py",
    "flight": "async save",
    "foreseen": "predicted, prediction",
    "forth": "forward",
    "GENERAL": "general in diagnose/registry.py",
    "handover": "the GPU thread",
    "hits": "matching_lines",
    "judged": "analyse, Analysis",
    "Known": "MeasuredHardware",
    "knows": "what it is",
    "land": "finish, finalize_save",
    "Load": "TrainingStep",
    "Moment": "phase",
    "narrator": "progress log",
    "orders": "copy protocol",
    "Pace": "SpeedFit, step time, throughput",
    "pace": "step time, throughput, speed_factor",
    "Question": "PredictionRequest",
    "said": "message, output, results",
    "Saving": "CheckpointRate",
    "settled": "resolved",
    "SIGNS": "PHRASES in diagnose/registry.py",
    "Story": "JobContext",
    "story": "job context",
    "Study": "Analysis",
    "study": "analysis",
    "surroundings": "distributed context, environment",
    "take_off": "begin an async save",
    "Told": "what it is",
    "worn": "failed_twice",
    "asked": "requested",
    "marks": "events",
    "patience": "timeout",
    "told": "what it is",
    "RunTrainer": "CheckpointingTrainerMixin",
    "sft_config": "training_arguments",
    "in_flight": "an async save that is running",
    "resume_point": "what it is",
}
"""Identifiers that are gone, and what to write instead. Leading underscores do not count."""

UNIT_SUFFIX = re.compile(
    r"(?:^|_)(?:s|ms|us|ns|seconds|hours|gb|gib|mib|kib|mb|bytes|day|gb_s|mib_s|bytes_s|per_s|pct|percent|"
    r"share|ratio|factor|fraction|rate|w|watts|j|c|celsius|mhz|hz|tflops|flops|kwh|per_second|per_second_per_gpu|tokens|steps|epochs|"
    r"mono|wall|wall_time|time|loss|score|count)$",
    re.IGNORECASE,
)
"""Endings of a name that say what a number is counted in."""

UNIT = (
    r"seconds?|ms|milliseconds?|microseconds?|µs|hours?|minutes?|bits?|bytes?|[KMGT]i?B|GB/s|MiB/s|tokens?"
    r"|FLOPs?|T?FLOP/s|watts?|W|joules?|J|kWh|degrees?|MHz|Hz|parameters|percent"
)
RATIO = (
    r"shares?|ratio|factor|multiple|times|from 0 to 1|steps?|epochs?|samples?|tensors|layers"
    r"|number|count|lines|unit"
)
UNIT_OF_CLASS = re.compile(rf"\b(?:{UNIT})\b|%|°C", re.IGNORECASE)
UNIT_OF_NUMBER = re.compile(rf"\b(?:{UNIT}|{RATIO})\b|%|°C", re.IGNORECASE)
"""Words of a docstring that say it: of the class for all its fields, or of the number itself."""


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module defines or uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname


def retired_in(text: str) -> dict[str, str]:
    """Return the retired identifiers of a module, with what to write instead."""
    names = {name.lstrip("_") for name in identifiers(ast.parse(text))}
    return {name: RETIRED[name] for name in names & RETIRED.keys()}


def documented(body: list[ast.stmt], place: int) -> str:
    """Return the string under a field or constant, or under the group that it is in."""
    for following in body[place + 1 :]:
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            return str(following.value.value)
        if not isinstance(following, ast.Assign):
            break
    return ""


def is_float(annotation: ast.expr) -> bool:
    """Return whether an annotation is `float`, alone or with None."""
    text = ast.unparse(annotation)
    return bool(re.fullmatch(r"(?:Annotated\[)?float(?: \| None)?(?:, .*\])?", text))


def floats(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and documentation of float fields of classes and of float constants."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        # A class whose numbers have one unit says it once.
        of_class = " number" if UNIT_OF_CLASS.search(ast.get_docstring(node) or "") else ""
        for place, field in enumerate(node.body):
            if isinstance(field, ast.AnnAssign) and is_float(field.annotation):
                declared = ast.unparse(field.value) if field.value else ""
                own = f"{documented(node.body, place)} {declared}"
                yield field.lineno, ast.unparse(field.target), own + of_class
    for place, constant in enumerate(tree.body):
        value = constant.value if isinstance(constant, ast.Assign) else None
        if isinstance(constant, ast.Assign) and isinstance(getattr(value, "value", None), float):
            name = ast.unparse(constant.targets[0])
            yield constant.lineno, name, documented(tree.body, place)


def without_unit(text: str) -> list[tuple[int, str]]:
    """Return line and name of every float whose unit stands neither in its name nor under it."""
    return [
        (line, name)
        for line, name, about in floats(ast.parse(text))
        if not UNIT_SUFFIX.search(name) and not UNIT_OF_NUMBER.search(about)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_and_units(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert retired_in(text) == {}
    assert without_unit(text) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class Pace: pass", {"Pace"}),
        ("def land(x): pass", {"land"}),
        ("run._narrator.foreseen", {"narrator", "foreseen"}),
        ("def f(told, *, pace=1): pass", {"told", "pace"}),
        ("'pace, in a text'  # and narrator in a comment", set()),
        ("landing = 1", set()),
    ],
)
def test_a_retired_identifier_is_found(text: str, names: set[str]) -> None:
    assert retired_in(text).keys() == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("WAIT = 3.0", True),
        ("WAIT_S = 3.0", False),
        ('WAIT = 3.0\n"""Seconds between two."""', False),
        ('WAIT = 3.0\n"""How long it waits."""', True),
        ("class A:\n    speed: float", True),
        ("class A:\n    speed: float | None = None", True),
        ("class A:\n    speed_gb_s: float", False),
        ('class A:\n    """Bytes on one GPU."""\n    weights: float', False),
        ('class A:\n    """What a step takes."""\n    weights: float', True),
        ("class A:\n    weights: int", False),
    ],
)
def test_a_number_without_a_unit_is_found(text: str, found: bool) -> None:
    assert bool(without_unit(text)) is found
