"""Conversations and chat templates that do not fit each other, in a program of the user's own."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.run_evidence import RunEvidence

_LACKS = re.compile(r"has no attribute '(\w+)'")


def no_template(evidence: RunEvidence) -> Cause | None:
    """The model's tokenizer has no chat template."""
    line = evidence.root_cause_line("no_chat_template")
    if line is None:
        return None
    steps = (
        "take an Instruct model, or set tokenizer.chat_template (training.chat_template_path in a "
        "recipe)",
    )
    headline = "the model's tokenizer has no chat template, and the data holds conversations"
    return advice.cause(evidence, line, headline, *steps)


def refused(evidence: RunEvidence) -> Cause | None:
    """The model's chat template cannot write a conversation of the data."""
    line = evidence.root_cause_line("chat_template")
    if line is None or not re.search(r"chat_template|<template>|render", evidence.last_words):
        return None
    lacks = _LACKS.search(line.text)
    what = f"a message, or a part of one, has no '{lacks[1]}'" if lacks else line.text
    steps = (
        "find the row, and repair it or take it out: a dataset checked with hpclaunch recipes "
        "validate is named with file and line",
    )
    headline = f"the model's chat template cannot write a conversation of the data: {what}"
    return advice.cause(evidence, line, headline, *steps)
