"""The command line: parse, call, print, and turn every error into one line and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import hpclaunch
from hpclaunch.cli import invocation
from hpclaunch.cli.help import CommandLine, Entry
from hpclaunch.cli.terminal import paint
from hpclaunch.cli.text import say
from hpclaunch.cli.visible import visible_streams
from hpclaunch.errors import UserError

SECTIONS = {
    "Before submission": {
        "recipes": Entry("hpclaunch.cli.recipes", "List, show, copy and check recipes."),
        "plan": Entry("hpclaunch.cli.plan", "Predict memory, time and cost, and compare layouts."),
        "rehearse": Entry(
            "hpclaunch.cli.rehearse", "Try a fine-tune on a small scale before it queues."
        ),
        "fetch": Entry(
            "hpclaunch.cli.fetch", "Fetch models and data from the hub before jobs need them."
        ),
        "prepare": Entry("hpclaunch.cli.prepare", "Fetch, tokenize and pack ahead of a job."),
        "config": Entry("hpclaunch.cli.config", "Print the accelerate config alone."),
    },
    "Start a run": {
        "sbatch": Entry("hpclaunch.cli.sbatch", "Submit a fine-tune as a batch job."),
        "srun": Entry("hpclaunch.cli.srun", "Run a fine-tune attached to this terminal."),
        "local": Entry("hpclaunch.cli.local", "Run a fine-tune on this machine."),
        "pipeline": Entry(
            "hpclaunch.cli.pipeline", "Run the stages of a file, each after those it needs."
        ),
        "sweep": Entry(
            "hpclaunch.cli.sweep", "Run a recipe with every combination of some values."
        ),
    },
    "While it runs, and after a failure": {
        "ls": Entry("hpclaunch.cli.ls", "List your runs."),
        "status": Entry("hpclaunch.cli.status", "Print the state of a run."),
        "watch": Entry(
            "hpclaunch.cli.watch", "Watch a run live: training, nodes and GPUs on one screen."
        ),
        "logs": Entry("hpclaunch.cli.logs", "Print the log of a run."),
        "why": Entry("hpclaunch.cli.why", "Explain why a run failed, ended or waits."),
        "stop": Entry("hpclaunch.cli.stop", "Stop a run in order: it saves after this step."),
        "cancel": Entry("hpclaunch.cli.cancel", "Cancel a run that waits or runs."),
        "resume": Entry("hpclaunch.cli.resume", "Resume a run that ended early."),
        "adopt": Entry(
            "hpclaunch.cli.adopt", "Take another's run, or one you copied, as your own."
        ),
    },
    "From the weights of a run to what others use": {
        "eval": Entry(
            "hpclaunch.cli.eval", "Evaluate a run or a model with lm-evaluation-harness."
        ),
        "best": Entry(
            "hpclaunch.cli.best", "Take the checkpoint of a run with the best score in a task."
        ),
        "merge": Entry("hpclaunch.cli.merge", "Merge a LoRA adapter into its base model."),
        "generate": Entry("hpclaunch.cli.generate", "Let a model write after prompts."),
        "quantize": Entry("hpclaunch.cli.quantize", "Write a model in fewer bits."),
        "publish": Entry(
            "hpclaunch.cli.publish", "Copy a model with its card to the hub or a storage."
        ),
    },
    "Afterwards": {
        "report": Entry("hpclaunch.cli.report", "Report what a run did and what held it back."),
        "export": Entry("hpclaunch.cli.export", "Export the samples of a run for other tools."),
    },
    "The cluster, and programs of your own": {
        "preflight": Entry(
            "hpclaunch.cli.preflight", "Measure the bandwidth inside and between nodes."
        ),
        "monitor": Entry("hpclaunch.cli.monitor", "Run any program and record this node."),
        "completion": Entry(
            "hpclaunch.cli.completion",
            "Print the script that lets Tab complete commands.",
        ),
    },
}
"""Every command, in the order in which a newcomer meets them."""


TAKE_SBATCH_OPTIONS = {"sbatch", "srun", "resume", "adopt", "rehearse", "preflight", "sweep"}
"""Commands with options for Slurm: sbatch's own that they lack are explained."""


@click.group(
    cls=CommandLine,
    sections=SECTIONS,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    epilog="hpclaunch COMMAND -h shows the options of a command, with examples.",
)
@click.version_option(hpclaunch.__version__, message="hpclaunch %(version)s")
def app() -> None:
    """Fine-tune large language models on a Slurm cluster, or on this machine."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 invalid request, 1 failed."""
    code = 1
    # Most of what a command allocates is modules, which stay: collecting less often is enough.
    gc.set_threshold(20_000)
    try:
        try:
            code = run(sys.argv[1:] if arguments is None else arguments)
        finally:  # click, too, ends a program whose reader has gone, by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`); the flush at exit must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Errors become one line on stderr."""
    with visible_streams(next((word for word in arguments if not word.startswith("-")), "")):
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        _check_folder()
        typed = invocation.split(arguments or ["--help"])
        code = app.main(list(typed.arguments), "hpclaunch", standalone_mode=False, obj=typed)
        return code if isinstance(code, int) else 0
    except UserError as error:
        return _fail(str(error), error.code)
    except click.ClickException as error:
        return _fail(_usage_line(error), 2)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        raise
    except OSError as error:
        if os.environ.get("HPCLAUNCH_DEBUG"):
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        return _fail(str(UserError(f"{where}{error.strerror or error}")), 1)
    except Exception as error:
        if os.environ.get("HPCLAUNCH_DEBUG"):
            raise
        message = f"{type(error).__name__}: {error}".replace("\n", " ")
        return _fail(f"a bug in hpclaunch: {message}; HPCLAUNCH_DEBUG=1 shows the traceback", 1)


def _check_folder() -> None:
    """Refuse to work from a folder that was removed. Raises UserError."""
    try:
        Path.cwd()
    except OSError:
        raise UserError("the current folder is gone", "cd to another one") from None


def _fail(line: str, code: int) -> int:
    from hpclaunch.secrets import mask  # a request may hold one, and output is kept

    say(paint(mask(line), "bad", sys.stderr))
    return code


def _usage_line(error: click.ClickException) -> str:
    """Return a usage error in one line, with where to read on."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "hpclaunch"
    if isinstance(error, click.NoSuchOption) and path.split()[-1] in TAKE_SBATCH_OPTIONS:
        from hpclaunch.site.sbatch_arguments import instead_of

        instead = instead_of(error.option_name)
        if instead:
            return f"{path} has no option {error.option_name}; {instead}"
    return f"{error.format_message()}; see {path} --help".replace("\n", " ").replace(".;", ";")


if __name__ == "__main__":
    main()
