"""`hpclaunch completion`: Tab completes commands, options and their values."""

from __future__ import annotations

import click

from hpclaunch.cli.help import Command

VARIABLE = "_HPCLAUNCH_COMPLETE"
"""How click's scripts ask the program for what may follow."""
SWITCH_ON = {
    "bash": ("~/.bashrc", 'eval "$(hpclaunch completion bash)"'),
    "zsh": ("~/.zshrc", 'eval "$(hpclaunch completion zsh)"'),
    "fish": ("~/.config/fish/config.fish", "hpclaunch completion fish | source"),
}
"""The file that a shell reads at its start, and the line to add to it."""


@click.command(
    cls=Command,
    examples=[
        ("Switch it on in this shell", 'eval "$(hpclaunch completion bash)"'),
        ("In every new shell", "echo 'eval \"$(hpclaunch completion bash)\"' >> ~/.bashrc"),
    ],
)
@click.argument("shell", type=click.Choice(list(SWITCH_ON)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets Tab complete commands.

    Commands, options, runs, recipes, GPU types, site profiles and export formats are completed.
    The script goes to stdout; its first lines say how to switch it on.
    """
    from click.shell_completion import get_completion_class

    from hpclaunch.cli.main import app

    file, line = SWITCH_ON[shell]
    print(f"# To switch completion on, add this line to {file}:\n#   {line}")
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - the three are click's own
    script = found(app, {}, "hpclaunch", VARIABLE)
    # `source` itself would start a bash to ask for its version.
    print(script.source_template % script.source_vars())
