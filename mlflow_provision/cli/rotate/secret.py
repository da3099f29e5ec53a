"""`rotate secret`: the secrets that the server made for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.deployments import named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, unasked
from mlflow_provision.cli.user.reached import asked_server
from mlflow_provision.console import EVERYTHING
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.users import Reached


@click.command("secret")
@named
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@accept_flag
@reports
def secret_command(console: Console, name: str | None, yes: bool, accept_new_host_key: bool) -> ExitCode | None:
    """Make new secrets of the server: the key it signs with, and the passphrase that locks the keys of the AI gateway.

    What was locked with the old passphrase is locked anew, the server is restarted and verified. They are made on the
    host and never leave it.
    """
    from mlflow_provision.rotation.secret import change

    with asked_server(console, name, accept_new_host_key, password_needed=False) as (reached, _):
        if not _confirmed(console, reached, yes):
            console.say("Nothing was changed.")
            return ExitCode.FAILED
        with stoppable(console, reached.host):
            console.steps(change(reached), shown=EVERYTHING)
    answer = console.answer
    console.document.details["rotated"] = answer
    console.say(f"{reached.deployment.name} has new secrets, and the old ones are forgotten.", "good")
    if answer["keys"]:
        console.say(f"  {plural(answer['keys'], 'key')} of the AI gateway: locked with the new passphrase")
    if answer["unreadable"]:
        console.note(
            f"these keys of the AI gateway could not be opened with the old passphrase either, and were left as they "
            f"are: {', '.join(answer['unreadable'])}. Enter them anew in the web page."
        )
    console.say("  Backups made before have the old ones with what these lock: they can be restored as ever.")
    return None


def _confirmed(console: Console, reached: Reached, yes: bool) -> bool:
    name = reached.deployment.name
    console.say(f"{name} gets new secrets, and is restarted: it is away for about ten seconds.")
    if yes:
        return True
    if not console.asks:
        raise unasked("restart it", "rotate")
    return asked(console, lambda: click.confirm("Go on?", default=True, err=True))
