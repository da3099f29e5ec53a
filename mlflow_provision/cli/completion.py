"""`completion`: the script that makes a shell complete our commands, options and deployments."""

from __future__ import annotations

import click

_VARIABLE = "_MLFLOW_PROVISION_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash, in ~/.bashrc    eval "$(mlflow-provision completion bash)"
    zsh, in ~/.zshrc      eval "$(mlflow-provision completion zsh)"
    fish, in config.fish  mlflow-provision completion fish | source
    """
    from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

    from mlflow_provision.cli import cli

    kinds: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    # Not BashComplete.source: it starts a bash to learn its version, which may not be the one this is for.
    click.echo(ShellComplete.source(kinds[shell](cli, {}, "mlflow-provision", _VARIABLE)))
