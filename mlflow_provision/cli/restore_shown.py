"""What a person reads before and after a restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.address import address, needs_tunnel
from mlflow_provision.cli.backup.shown import content, described
from mlflow_provision.cli.command import shown
from mlflow_provision.cli.connection import where
from mlflow_provision.console.text import duration, plural

if TYPE_CHECKING:
    from mlflow_provision.backups import Reached
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console
    from mlflow_provision.provision import Prepared
    from mlflow_provision.restoring import Wish


def say_summary(console: Console, site: Reached, wish: Wish, seen: dict[str, Any]) -> None:
    """What would be replaced, and what is newer than the backup."""
    deployment = site.deployment
    console.say()
    console.say(f"Restore {deployment.name} on {where(deployment)}", "strong")
    _say_backup(console, wish)
    for number, path in enumerate(seen["replaces"]):
        _say(console, "" if number else "Replaced", console.shortened(path))
    for problem in seen["now"]["problems"].values():
        _say(console, "Damaged", f"what is there now cannot be read: {problem}")
    lost = newer(seen["newer"])
    _say(console, "Newer", f"{lost} that would go away" if lost else "nothing that would go away")
    _say_artifacts(console, deployment, wish)
    _say_safety(console, site, wish, seen)
    if seen["migrates"]:
        _say(console, "Schema", f"older: a copy is migrated to MLflow {deployment.mlflow.version} before it is used")
    if seen["unfinished"]:
        _say(console, "Before", f"the restore of {seen['unfinished']['id']} was interrupted: it is taken back first")
    users = "stay as they are: this backup has none" if seen["keeps_users"] else "as they were then"
    _say(console, "Users", f"{users}; {deployment.auth.admin_username} keeps today's password")
    console.say("The server is away for some seconds meanwhile. If anything fails, it runs on with what it has now.")
    console.say()


def say_setup(console: Console, prepared: Prepared, wish: Wish, changed_version: bool) -> None:
    """The same for a host that has no server yet."""
    deployment, facts = prepared.deployment, prepared.facts
    console.say()
    console.say(f"Restore {deployment.name} onto {where(deployment)}", "strong")
    _say_backup(console, wish)
    _say(console, "Host", f"{facts['os']['name']}, without a server {deployment.name}")
    why = ", that of the backup" if changed_version else ""
    _say(
        console, "First", f"set up with MLflow {deployment.mlflow.version}{why}: about {len(prepared.resources)} steps"
    )
    _say_artifacts(console, deployment, wish)
    _say(console, "Then", f'the deployment file says host = "{deployment.host}"')
    console.say()


def say_ending(console: Console, deployment: Deployment, wish: Wish, answer: dict[str, Any], own_place: str) -> None:
    """`own_place` is that of the deployment file: a backup in another one is found only if that is named."""
    console.say()
    took = duration(console.seconds) or "no time"
    console.say(f"{deployment.name} is restored from {wish.backup['id']} and verified ({took}).", "good")
    if rows := content(wish.backup):
        console.say(f"  Content   {rows}")
    console.say(f"  Address   {address(deployment)}" + (" through the tunnel" if needs_tunnel(deployment) else ""))
    if answer["migrated"]:
        console.say(f"  Schema    migrated from MLflow {answer['mlflow_version']} to {deployment.mlflow.version}")
    console.say(f"  Away for  {duration(answer['seconds_down']) or 'no time'}")
    if answer["safety"]:
        place = deployment.backup.destination
        elsewhere = ("--from", place) if place != own_place else ()
        console.say(f"  Way back  {shown('restore', answer['safety'], deployment.name, *elsewhere)}")
    had_users = console.document.details.get("compared", {}).get("now", {}).get("used")
    if had_users and answer["no_safety"] and wish.safety:
        console.say(f"  Safety    no backup was made first: {answer['no_safety']}")
    if had_users and answer["aside"]:
        console.say(f"  Replaced  kept on the host in {console.shortened(answer['aside'])}")


def say_old_host(console: Console, deployment: Deployment) -> None:
    """Two servers that back themselves up into one place would mix what they have."""
    if deployment.backup.scheduled:
        console.note(
            f"if {deployment.host} still runs, it goes on backing itself up to the same place: "
            f"stop that there with `sudo systemctl disable --now mlflow-{deployment.name}-backup.timer`"
        )


def _say_safety(console: Console, site: Reached, wish: Wish, seen: dict[str, Any]) -> None:
    if not wish.safety:
        _say(console, "Safety", "NONE: what is there now is not backed up first (--no-safety-backup)")
    elif seen["now"]["problems"]:
        _say(console, "Safety", "what can be read is backed up first; what is damaged is kept as files on the host")
    elif not seen["now"]["used"]:
        _say(console, "Safety", "none is needed: nobody has used this server yet")
    else:
        _say(console, "Safety", f"what is there now is backed up first, to {site.place}")


def newer(counts: dict[str, Any]) -> str:
    """`2 experiments, 35 runs and 1 user`; "" for none."""
    nouns = {"experiments": "experiment", "runs": "run", "users": "user"}
    parts = [plural(counts[what], noun) for what, noun in nouns.items() if counts.get(what)]
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _say_backup(console: Console, wish: Wish) -> None:
    _say(console, "Backup", described(wish.backup))
    _say(console, "Content", content(wish.backup))


def _say_artifacts(console: Console, deployment: Deployment, wish: Wish) -> None:
    place = deployment.artifacts.destination
    if "://" in place:
        _say(console, "Artifacts", f"stay in {place}, untouched")
    elif not wish.artifacts or not wish.backup["artifacts"]:
        _say(console, "Artifacts", "stay as they are" if wish.backup["artifacts"] else "none in this backup")
    else:
        _say(console, "Artifacts", "missing ones are put back, newer ones stay")


def _say(console: Console, label: str, text: str) -> None:
    if text:
        console.say(f"  {label:<9} {text}")
