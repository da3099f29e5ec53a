"""`backup verify`: can this backup be restored?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.backup.key import identity
from mlflow_provision.cli.backup.place import place_flags
from mlflow_provision.cli.backup.reached import asked_host, secrets_of, wanted
from mlflow_provision.cli.backup.words import LATEST, id_and_name, parted
from mlflow_provision.cli.command import reports
from mlflow_provision.cli.connection import accept_flag
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.console import EVERYTHING
from mlflow_provision.console.text import duration

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("verify")
@id_and_name
@place_flags("--from")
@accept_flag
@reports
def verify_command(console: Console, words: tuple[str, ...], accept_new_host_key: bool, **flags: Any) -> None:
    """Prove that a backup can be restored, the newest one without an ID, and mark it as verified.

    The host fetches every object of it, checks every sum, opens the databases in a scratch folder, has SQLite check
    them from end to end, and compares what is in them with what was there when the backup was made. The server goes on
    working meanwhile.

    An encrypted backup needs its passphrase or identity for that: from the secrets file, else it is asked. Without it,
    only the sums are checked.
    """
    from mlflow_provision import backups
    from mlflow_provision.config import load

    wish, name = parted(words)
    deployment, path = wanted(console, name, flags)
    secrets = secrets_of(path)
    with asked_host(console, backups.only_reading(deployment), secrets, accept_new_host_key) as reached:
        with console.busy(f"Reading {reached.place}"):
            backup = backups.found(backups.listed(reached), wish or LATEST, deployment.name)
        key = identity(console, backup, secrets, may_do_without=True)
        with stoppable(console, reached.host):
            console.steps(backups.ready(backups.reading(reached, backup), load(path)))
            console.steps(backups.verify(reached, backup["id"], key), shown=EVERYTHING)
    answer = console.answer
    console.document.details["verified"] = answer
    took = duration(console.seconds) or "no time"
    if answer["level"] == "full":
        console.say(f"The backup {answer['id']} can be restored ({took}).", "good")
    else:
        console.say(f"The backup {answer['id']} is there as it was sent ({took}).", "good")
        console.note("what opens it is not known here, so its content was not looked at")
