"""The command line's door: parse, call, print, and turn every error into one line and a code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import hpclaunch
from hpclaunch.cli import invocation
from hpclaunch.cli.cancel import cancel
from hpclaunch.cli.config import config
from hpclaunch.cli.export import export
from hpclaunch.cli.local import local
from hpclaunch.cli.logs import logs
from hpclaunch.cli.monitor import monitor
from hpclaunch.cli.plan import plan
from hpclaunch.cli.preflight import preflight
from hpclaunch.cli.recipes import recipes
from hpclaunch.cli.rehearse import rehearse
from hpclaunch.cli.report import report
from hpclaunch.cli.resume import resume
from hpclaunch.cli.sbatch import sbatch
from hpclaunch.cli.srun import srun
from hpclaunch.cli.status import status
from hpclaunch.cli.text import say
from hpclaunch.cli.watch import watch
from hpclaunch.cli.why import why
from hpclaunch.errors import JobFailed, UserError

COMMANDS = (
    sbatch,
    srun,
    local,
    plan,
    preflight,
    rehearse,
    config,
    recipes,
    status,
    watch,
    why,
    logs,
    cancel,
    resume,
    report,
    export,
    monitor,
)


class _InOrder(click.Group):
    """Lists commands as a newcomer meets them, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the order they were added."""
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"max_content_width": 100})
@click.version_option(hpclaunch.__version__, message="hpclaunch %(version)s")
def app() -> None:
    """Fine-tune large language models on a Slurm cluster, or on this machine."""


for _command in COMMANDS:
    app.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 what was asked cannot be, 1 it failed."""
    code = 1
    # Most of what a command makes is modules, and stays: less often than by default is enough to
    # look for garbage among them.
    gc.set_threshold(20_000)
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`): nobody is left to tell, and the flush at exit must not.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Errors become one line on stderr."""
    try:
        _check_folder()
        typed = invocation.split(arguments or ["--help"])
        code = app.main(list(typed.words), "hpclaunch", standalone_mode=False, obj=typed)
        return code if isinstance(code, int) else 0
    except UserError as error:
        return _fail(str(error), 2)
    except JobFailed as error:
        return _fail(str(error), error.code)
    except click.ClickException as error:
        return _fail(_usage_line(error), 2)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("HPCLAUNCH_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        return _fail(f"a fault of hpclaunch itself: {what}; HPCLAUNCH_DEBUG=1 shows where", 1)


def _check_folder() -> None:
    """Refuse to work from a folder that was removed. Raises UserError."""
    try:
        Path.cwd()
    except OSError:
        raise UserError("the current folder is gone", "cd to another one") from None


def _fail(line: str, code: int) -> int:
    say(line)
    return code


def _usage_line(error: click.ClickException) -> str:
    """Return a usage error in one line, with where to read on."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "hpclaunch"
    return f"{error.format_message()}; see {path} --help".replace("\n", " ").replace(".;", ";")


if __name__ == "__main__":
    main()
