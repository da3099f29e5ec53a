"""`backup`: a group whose first command, `now`, need not be typed."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from mlflow_provision.cli.group import LazyGroup

# name → (module in this package, one line of help)
COMMANDS = {
    "now": ("now", "Back a server up now. The same without the word `now`."),
    "list": ("list", "List the backups, newest first."),
    "verify": ("verify", "Prove that a backup can be restored: fetch it, check it all."),
    "download": ("download", "Copy a backup into a folder on this machine."),
    "prune": ("prune", "Delete backups that are not to be kept any longer."),
    "schedule": ("schedule", "Show or set when the host backs itself up."),
    "keygen": ("keygen", "Make a key pair: backups that only you can read."),
}
NOW = "now"


class BackupGroup(LazyGroup):
    """What is no command here is what `now` takes: the name of a deployment, or an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing or args:
            args = self._with_command(ctx, args)
        return super().parse_args(ctx, args)

    def _with_command(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first in self.table or first in ctx.help_option_names:
            return args
        if not first.startswith("-") and not ctx.resilient_parsing:
            self._refuse_typing_error(ctx, first)
        return [NOW, *args]

    def _refuse_typing_error(self, ctx: click.Context, word: str) -> None:
        meant = self.nearest(word)
        if meant:
            from mlflow_provision.config import names

            if word not in names():
                ctx.fail(f"No such command or deployment {word!r}.{meant}")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from mlflow_provision.cli.backup.now import now_command as now

        with now.make_context(NOW, [], parent=ctx, resilient_parsing=True) as inner:
            if incomplete.startswith("-"):
                return now.shell_complete(inner, incomplete)
            names = [item for param in now.params for item in param.shell_complete(inner, incomplete)][:50]
        return super().shell_complete(ctx, incomplete) + names


@click.group(
    "backup",
    cls=BackupGroup,
    table=COMMANDS,
    package="mlflow_provision.cli.backup",
    subcommand_metavar="[NAME] | COMMAND [ARGS]...",
)
def backup_command() -> None:
    """Back up what cannot be made again: runs, users, secrets, artifacts. And prove that it can be restored.

    \b
    mlflow-provision backup --to operator:~/mlflow-backups
    mlflow-provision backup                          to the same place again
    mlflow-provision backup list                     what there is
    mlflow-provision backup schedule --every daily   by itself
    mlflow-provision restore                         puts one back

    Each command has its own --help; `backup now --help` has what `backup` takes.
    """
