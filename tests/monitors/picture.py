"""The picture of a report in the documentation: a made-up run of four nodes with one hot GPU.

    python -m tests.monitors.picture docs/images/report.png

Needs Chromium. The samples are those of `tests.monitors.traces`, not of a real cluster.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from monitors.analysis.analysis import JobContext, analyse_folder
from monitors.report.build import render_html
from tests.monitors import traces
from tests.monitors.browser import Browser

SECONDS = 1500
WIDTH, HEIGHT = 1280, 2280
_HOT, _HOT_FROM_S = ("n3", 2), 300
_SETUP = (
    ("model", "meta-llama/Meta-Llama-3-8B, bfloat16"),
    ("method", "LoRA, rank 16, alpha 32"),
    ("data", "HuggingFaceH4/ultrachat_200k, train_sft"),
    ("recipe", "llama3-8b-lora"),
    ("layout", "4 nodes x 4 GPUs (a100_80), FULL_SHARD (ZeRO-3), FSDP 2"),
    ("batch", "batch 2, accumulation 4: global batch 128"),
    ("site", "my-cluster"),
    ("job", "123456 (sbatch)"),
    ("started by", "anna on login1"),
    ("wall time", "24 min 40 s"),
    ("versions", "hpclaunch 0.1.0, torch 2.9.1, transformers 4.57.3"),
    ("command", "hpclaunch sbatch llama3-8b-lora --nodes 4 --gpus 4 --gpu a100_80 --time 1:00:00"),
)
_OUTCOME = (("state", "done"), ("step", "141 of 141"), ("loss", "1.0461, from 2.4200"))


def write_page(folder: Path) -> Path:
    """Record the run into a folder and write its report there; returns the page's path."""
    dice = random.Random(7)  # noqa: S311

    def gpu(node: str, index: int, t: int) -> traces.Values:
        training = t >= traces.LOAD_S
        values: traces.Values = {}
        if t % 5 == 0:  # as NVML's counters of activity are read
            values["sm_active_pct"] = dice.randint(70, 78) if training else 0
            values["tensor_active_pct"] = dice.randint(38, 44) if training else 0
        if t < _HOT_FROM_S:
            return values
        if (node, index) == _HOT:
            hot = {"throttle": 0x40, "temperature_c": 87 + dice.randrange(4)}
            slow = {
                "sm_clock_mhz": 1005 + 15 * dice.randrange(3),
                "power_w": dice.uniform(270, 290),
            }
            return values | hot | slow
        waits = (t - traces.LOAD_S) % traces.STEP_S < 2
        return values | {"power_w": dice.uniform(130, 160)} if waits else values

    traces.record(folder, nodes=4, gpus=4, seconds=SECONDS, gpu=gpu)
    events = tuple(traces.events(SECONDS, checkpoint_s=19.0, every=25))
    context = JobContext(
        "llama3-8b-lora",
        _SETUP,
        _OUTCOME,
        events,
        token_flops=3.4e10,
        bf16_peak=lambda _: 312e12,
    )
    page = folder / "report.html"
    page.write_text(render_html(analyse_folder(folder, context)))
    return page


def main() -> None:
    """Take the picture and write it to the path that is the only argument."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder) / "profile")
        try:
            browser.open(write_page(Path(folder)), WIDTH, HEIGHT)
            browser.until("document.querySelectorAll('canvas').length >= 4")
            browser.settle()
            browser.picture(Path(sys.argv[1]))
        finally:
            browser.close()


if __name__ == "__main__":
    main()
