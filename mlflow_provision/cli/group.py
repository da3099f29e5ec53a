"""Groups of commands, from static tables: a command's module is imported only when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

# name → (module in this package, one line of help). The order is the order of `--help`.
COMMANDS = {
    "setup": ("setup", "Make a host run a verified MLflow server; repeat to update it."),
    "plan": ("plan", "Show what setup would change, with diffs. Touches nothing."),
    "verify": ("verify", "Prove that a server works: log in, store, read back, survive."),
    "status": ("status", "Say how servers fare: one of them, or all."),
    "doctor": ("doctor", "Find out what is wrong, why, and what to do; mend some of it."),
    "logs": ("logs", "Show what a server says; follow it; its errors only."),
    "start": ("service", "Start a server and wait until it is healthy."),
    "stop": ("service", "Stop a server and wait until it is gone."),
    "restart": ("service", "Restart a server and wait until it is healthy."),
    "backup": ("backup", "Back a server up now; list, verify, prune, schedule backups."),
    "restore": ("restore", "Put a backup back: on its host, or on a new one."),
    "upgrade": ("upgrade", "Give a server another MLflow, with all that it has."),
    "rollback": ("rollback", "Go back to the MLflow that a server had before."),
    "user": ("user", "Users of a server: list, add, remove, passwords, permissions."),
    "rotate": ("rotate", "Change a password, an AWS key or a secret wherever it is used."),
    "gc": ("gc", "Remove for good what was deleted in MLflow, with its artifacts."),
    "move-artifacts": ("move_artifacts", "Bring artifacts from elsewhere under the proxy; or move all."),
    "audit": ("audit", "Show who changed what on a host, and when."),
    "list": ("list", "List the deployments known on this machine."),
    "tunnel": ("tunnel", "Reach a server from this machine, over SSH."),
    "run": ("run", "Run a program that uses a server: address, login, tunnel."),
    "open": ("open", "Open the web page of a server in the browser."),
    "env": ("env", "Print the address and login of a server, for a shell."),
    "iam-policy": ("iam_policy", "Print the least an AWS role needs, or create the role."),
    "destroy": ("destroy", "Remove a server from its host; keep its data unless told."),
    "completion": ("completion", "Print the completion script of a shell."),
}

TYPED = "mlflow_provision.typed"  # key of a context's meta: the arguments as they were typed


class LazyGroup(click.Group):
    """Lists and completes commands without importing them."""

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, tuple[str, str]] = COMMANDS,
        package: str = "mlflow_provision.cli",
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.table = table
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module = import_module(f"{self.package}.{self.table[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_") + "_command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta.setdefault(TYPED, list(args))  # shared with the groups inside: the outermost has them all
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}.{self.nearest(name)}")
        return super().resolve_command(ctx, args)

    def nearest(self, name: str) -> str:
        """A question for somebody who may have meant one of ours; else nothing."""
        from difflib import get_close_matches

        near = get_close_matches(name, self.table, n=1)
        return f" Did you mean {near[0]!r}?" if near else ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=text) for name, (_, text) in self.table.items() if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Ctrl-C anywhere outside a running step, a question included, ends with exit code 130 and one line."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
