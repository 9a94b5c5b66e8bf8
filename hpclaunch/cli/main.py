"""The command line's door: parse, call, print, and turn every error into one line and a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import hpclaunch
from hpclaunch.cli import invocation, recipes
from hpclaunch.cli.cancel import cancel
from hpclaunch.cli.config import config
from hpclaunch.cli.local import local
from hpclaunch.cli.logs import logs
from hpclaunch.cli.report import report
from hpclaunch.cli.sbatch import sbatch
from hpclaunch.cli.srun import srun
from hpclaunch.cli.status import status
from hpclaunch.errors import JobFailed, UserError

app = typer.Typer(
    name="hpclaunch",
    help="Fine-tune large language models on a Slurm cluster, or on this machine.",
    add_completion=False,
    rich_markup_mode=None,  # rich costs a third of the start-up time
    pretty_exceptions_enable=False,
)
for _command in (sbatch, srun, local, config):
    app.command()(_command)
app.add_typer(recipes.app, name="recipes")
for _command in (status, logs, cancel, report):
    app.command()(_command)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"hpclaunch {hpclaunch.__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 what was asked cannot be, 1 it failed."""
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`): nobody is left to tell, and the flush at exit must not.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; gives the exit code. Errors become one line on stderr."""
    try:
        typed = invocation.split(arguments or ["--help"])
        code = app(list(typed.words), obj=typed, standalone_mode=False, prog_name="hpclaunch")
        return code if isinstance(code, int) else 0
    except UserError as error:
        return _fail(str(error), 2)
    except JobFailed as error:
        return _fail(str(error), error.code)
    except typer.TyperException as error:
        return _fail(_usage_line(error), 2)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("HPCLAUNCH_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}".replace("\n", " ")
        return _fail(f"a fault of hpclaunch itself: {what}; HPCLAUNCH_DEBUG=1 shows where", 1)


def _fail(line: str, code: int) -> int:
    print(f"hpclaunch: {line}", file=sys.stderr)
    return code


def _usage_line(error: typer.TyperException) -> str:
    """Give a usage error in one line, with where to read on."""
    say = getattr(error, "format_message", lambda: str(error))
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "hpclaunch"
    return f"{say()}; see {path} --help".replace("\n", " ").replace(".;", ";")


if __name__ == "__main__":
    main()
