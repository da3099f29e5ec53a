"""What every command shares: --json, --quiet, --plain, --debug, a console, and one way for errors to end it."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.group import TYPED
from mlflow_provision.cli.program import NAME, program
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console


# Commands that have nothing to continue when they were interrupted.
_READING = (["status"], ["doctor"], ["logs"], ["audit"], ["plan"], ["verify"], ["list"])


def reports(function: Callable[..., ExitCode | None]) -> Callable[..., None]:
    """A command that gets a console as its first argument, and whose return value or error is its exit code."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
    @click.option("--plain", is_flag=True, help="No colours, nothing that moves: for screen readers.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def command(*args: Any, as_json: bool, quiet: bool, plain: bool, debug: bool, **options: Any) -> None:
        from mlflow_provision.console import Console

        context = click.get_current_context()
        console = Console.of_command(_words(context), as_json, quiet, plain)
        code = _outcome(lambda: function(console, *args, **options), console, debug)
        console.finish(code)
        context.exit(int(code))

    return command


def transparent(function: Callable[..., int]) -> Callable[..., None]:
    """A command whose output belongs to another program: ours are errors on stderr. It returns its exit code."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def command(*args: Any, debug: bool, **options: Any) -> None:
        from mlflow_provision.console import Console

        codes: list[int] = []
        context = click.get_current_context()
        console = Console.of_command(_words(context), quiet=True)
        failed = _outcome(lambda: codes.append(function(*args, **options)), console, debug)
        context.exit(codes[0] if codes else int(failed))

    return command


def _words(context: click.Context) -> str:
    """What the command is called: `setup`, `backup list`."""
    return context.command_path.partition(" ")[2]


def again() -> str:
    """The command line that runs, as something to type again."""
    return shown(*typed())


def in_earnest() -> str:
    """The same without its --dry-run."""
    return shown(*(word for word in typed() if word not in ("--dry-run", "--exit-code")))


def typed() -> list[str]:
    """The arguments of the command line that runs, its command first."""
    return list(click.get_current_context().meta[TYPED])


def shown(*words: str) -> str:
    """A command of ours, as something to type."""
    return f"{program()} {shlex.join(words)}"


def _outcome(run: Callable[[], ExitCode | None], console: Console, debug: bool) -> ExitCode:
    try:
        return run() or ExitCode.DONE
    except ProvisionError as error:
        return _failed(console, error, debug)
    except (KeyboardInterrupt, click.Abort):
        return _failed(console, ProvisionError("interrupted", code=ExitCode.INTERRUPTED), debug)
    except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
        raise
    except Exception as error:  # what nobody foresaw still ends in a sentence
        if debug:
            raise
        where = traceback_place(error)
        what = f"{type(error).__name__} at {where}"
        return _failed(
            console, ProvisionError(f"unexpected, a bug of ours: {what}", "see all of it: add --debug"), debug
        )


def _afterwards() -> str:
    """What an interrupted command does when it runs again: half a backup, or an upgrade, is none; all else goes on."""
    if typed()[:1] in (["upgrade"], ["rollback"]):
        return "it begins anew"
    return "nothing half is left behind" if typed()[:1] == ["backup"] else "it continues where it stopped"


def _failed(console: Console, error: ProvisionError, debug: bool) -> ExitCode:
    hint = error.hint
    if error.code is ExitCode.INTERRUPTED and (not hint or hint.startswith("run the same command again")):
        reads = typed()[:1] in _READING or error.message.endswith("nothing was changed")
        afterwards = "" if reads else f", {_afterwards()}"
        hint = f"run the same command again{afterwards}:\n{again()}"
    if console.document.deployment:  # hints of the host's side do not know which deployment it is
        hint = re.sub(r"\bNAME\b", console.document.deployment, hint)
    hint = re.sub(rf"\b{NAME}(?= [a-z])", lambda match: program(), hint)
    console.error(ProvisionError(error.message, hint, error.code))
    if debug:
        import traceback

        traceback.print_exception(error)
        click.echo(getattr(error, "detail", ""), err=True)
    return error.code


def traceback_place(error: Exception) -> str:
    """File and line of ours where it was raised. Its message is not shown: it may quote anything."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "mlflow_provision" in frame.filename] or frames
    return f"{ours[-1].filename.rpartition('mlflow_provision/')[2]}:{ours[-1].lineno}" if ours else "an unknown place"
