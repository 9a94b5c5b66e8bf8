"""Keep the libraries' small talk off the console: a log of many ranks must stay readable."""

from __future__ import annotations

import logging
import os
import warnings

SILENT_LOGGERS = ("bitsandbytes", "torch.distributed.elastic", "httpx")
"""Libraries that warn about optional parts nobody asked for; their errors still come through."""

IRRELEVANT = (
    r".*is deprecated and will be removed.*",
    r".*torch\.distributed\.\w+` is deprecated.*",
    r".*pin_memory.*",
    r".*lr_scheduler\.step\(\).*",
    r".*Both `max_new_tokens`.*",
    r".*No device id is provided.*",
    r".*Please use the new API settings to control TF32.*",
    r".*assume that the vocabulary was not modified.*",
)
"""Warnings (as patterns) that name nothing a user of this program could change."""


def quieten() -> None:
    """Set environment and filters before the large libraries are imported. Bars are off for good:

    a progress bar rewrites its line, which a log file keeps as hundreds of lines.
    """
    for name, value in (
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"),
        ("HF_HUB_DISABLE_TELEMETRY", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("BITSANDBYTES_NOWELCOME", "1"),
        ("TF_CPP_MIN_LOG_LEVEL", "3"),
    ):
        os.environ.setdefault(name, value)
    for pattern in IRRELEVANT:
        warnings.filterwarnings("ignore", message=pattern)
    for logger in SILENT_LOGGERS:
        logging.getLogger(logger).setLevel(logging.ERROR)


def quieten_libraries(first_rank: bool) -> None:
    """Switch off bars in the imported libraries; only the first rank passes warnings on."""
    import datasets
    import transformers
    import transformers.utils.logging as transformers_logging

    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    level = logging.WARNING if first_rank else logging.ERROR
    transformers.logging.set_verbosity(level)
    datasets.logging.set_verbosity(level)
    # A bad line is said once, with its number, by those who catch the error.
    logging.getLogger("datasets.packaged_modules.json.json").setLevel(logging.CRITICAL)
    for name in ("trl", "peft", "accelerate"):
        logging.getLogger(name).setLevel(level)
    if not first_rank:
        warnings.filterwarnings("ignore")
