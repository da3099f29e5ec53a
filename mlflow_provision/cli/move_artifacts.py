"""`move-artifacts`: what old servers left elsewhere comes under the proxy; or the whole store moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import in_earnest, reports
from mlflow_provision.cli.connection import accept_flag, connected, where
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.move_artifacts_place import absolute, elsewhere
from mlflow_provision.cli.move_artifacts_shown import (
    say_deleted,
    say_look,
    say_moved,
    say_originals,
    say_relocated,
    say_store,
)
from mlflow_provision.cli.planned import asked, unasked
from mlflow_provision.console import DIFFERENCES, EVERYTHING
from mlflow_provision.console.text import plural, size
from mlflow_provision.errors import ExitCode

if TYPE_CHECKING:
    from mlflow_provision.blueprint.moving import Move
    from mlflow_provision.config import Deployment, Secrets
    from mlflow_provision.console import Console
    from mlflow_provision.moving import Site


@dataclass(frozen=True)
class Order:
    """What was typed, but for places."""

    dry_run: bool
    delete: bool
    yes: bool


@click.command("move-artifacts")
@named
@click.option("--dry-run", is_flag=True, help="Show what would be moved, and how much. Changes nothing.")
@click.option("--to", "artifacts", metavar="PLACE", help="Move the store: s3://bucket/prefix, or a folder of the host.")
@click.option("--aws-profile", metavar="PROFILE", help="That bucket: with the keys of this AWS profile.")
@click.option("--instance-role", is_flag=True, help="That bucket: with the IAM role of the host.")
@click.option("--aws-keys", is_flag=True, help="That bucket: with the keys of the secrets file.")
@click.option("--region", metavar="REGION", help="Region of that bucket.")
@click.option("--endpoint-url", metavar="URL", help="That bucket: an S3-compatible store instead of AWS.")
@click.option("--from-profile", metavar="PROFILE", help="Read old buckets with the keys of this AWS profile.")
@click.option("--from-region", metavar="REGION", help="Region of the old buckets.")
@click.option("--from-endpoint-url", metavar="URL", help="The S3-compatible store that old buckets are in.")
@click.option(
    "--as-root", multiple=True, metavar="FOLDER", help="Root may read it where the server cannot. Repeatable."
)
@click.option("--missing", is_flag=True, help="Rewrite places of the host that are not there, too.")
@click.option("--verify-all", is_flag=True, help="Read every artifact through the server afterwards.")
@click.option("--delete-originals", is_flag=True, help="Delete what was copied, at its old place, after asking.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@accept_flag
@reports
def move_artifacts_command(
    console: Console,
    name: str | None,
    dry_run: bool,
    from_profile: str | None,
    from_region: str | None,
    from_endpoint_url: str | None,
    as_root: tuple[str, ...],
    missing: bool,
    verify_all: bool,
    delete_originals: bool,
    yes: bool,
    accept_new_host_key: bool,
    **place: Any,
) -> ExitCode | None:
    """Bring artifacts that are elsewhere under the proxy of the server.

    Experiments and runs of older servers point at s3://… or at a folder, and clients need keys for them. What is
    not where the server keeps its artifacts is copied there, and every place in the database is rewritten. With --to
    the whole store of the server moves to another bucket or folder.

    It shows first what would be moved, then asks. Everything is read at both places and compared. The databases are
    backed up. If anything fails, the server runs as before. Originals stay unless --delete-originals is given.

    \b
    mlflow-provision move-artifacts --dry-run
    mlflow-provision move-artifacts prod --as-root /home/ubuntu/mlruns
    mlflow-provision move-artifacts prod --to s3://bucket/mlflow --instance-role
    """
    from mlflow_provision import moving
    from mlflow_provision.blueprint.moving import MOVE, Move
    from mlflow_provision.config import load_secrets, secrets_beside

    deployment, path = chosen(name)
    console.document.deployment = deployment.name
    new = elsewhere(deployment, place)
    others = moving.source(from_profile or "", from_region or "", from_endpoint_url or "")
    wish = Move(MOVE, others, tuple(absolute(folder) for folder in as_root), missing, verify_all)
    order = Order(dry_run, delete_originals, yes)
    known = load_secrets(secrets_beside(path))
    with connected(console, deployment, accept_new_host_key) as host:
        with console.busy("Looking at " + where(deployment)):
            there = moving.site(host, deployment, known)
        console.home = there.facts["home"] if deployment.scope == "user" else ""
        if new:
            return _relocate(console, there, new, known, path, wish, order)
        return _move(console, there, wish, order)


def _move(console: Console, there: Site, wish: Move, order: Order) -> ExitCode | None:
    """Under the proxy."""
    from mlflow_provision import moving

    moving.refuse_unapplied(there)
    console.steps(moving.looked(there, wish), shown=())
    seen = console.document.details["found"] = console.answer
    say_look(console, there, seen, order.delete)
    # After a move that lost its power every row may name a place that nobody has proved: it is undone all the same.
    if not seen["rows"] and not seen["unfinished"]:
        return _delete(console, there, wish, order, seen["originals"])
    if order.dry_run:
        console.say(f"Nothing was changed. To move them: {in_earnest()}")
        return None
    if not _confirmed(console, order, "move them", "Move them?"):
        return ExitCode.FAILED
    with stoppable(console, there.host):
        console.steps(moving.ready(there), shown=DIFFERENCES)
        console.steps(moving.moved(there, wish), shown=EVERYTHING)
    answer = console.document.details["moved"] = console.answer
    say_moved(console, there, answer, order.delete)
    return _delete(console, there, wish, order, [])


def _relocate(
    console: Console, there: Site, new: Deployment, known: Secrets, path: Path, wish: Move, order: Order
) -> ExitCode | None:
    """The store itself."""
    from mlflow_provision import moving

    if there.applied == new.artifacts.destination:
        return _only_kept(console, there, new, path, wish, order)
    moving.refuse_unapplied(there)
    with console.busy("Trying " + new.artifacts.destination):
        to = moving.target(there, new, known)
    console.steps(moving.store_looked(there, to), shown=())
    seen = console.document.details["found"] = console.answer
    say_store(console, there, to.deployment, seen)
    if order.dry_run:
        console.say(f"Nothing was changed. To move it: {in_earnest()}")
        return None
    if not _confirmed(console, order, "move it", "Move it?"):
        return ExitCode.FAILED
    with stoppable(console, there.host):
        console.steps(moving.relocated(there, to, wish), shown=DIFFERENCES)
    answer = console.document.details["moved"] = console.answer
    moving.keep(path, to.deployment)
    say_relocated(console, there, to.deployment, answer, path)
    return _delete(console, moving.again(there, to), moving.from_the_old_one(there, wish), order, [])


def _only_kept(console: Console, there: Site, new: Deployment, path: Path, wish: Move, order: Order) -> ExitCode | None:
    """The server is there already: an earlier run was cut off before the file said so, or there is nothing to do."""
    from mlflow_provision import moving

    if there.place != there.applied and not order.dry_run:
        moving.keep(path, new)
        console.say(f"{path} says so from now on.")
    console.say(f"{there.deployment.name} keeps its artifacts in {there.applied} already.", "good")
    return None


def _delete(
    console: Console, there: Site, wish: Move, order: Order, originals: list[dict[str, Any]]
) -> ExitCode | None:
    """The originals of this move and of earlier ones, if that is wanted."""
    from mlflow_provision import moving

    if not order.delete:
        if originals:
            say_originals(console, originals)
        return None
    if not originals:
        console.steps(moving.looked(there, wish), shown=())
        originals = console.answer["originals"]
    files, total = sum(one["files"] for one in originals), sum(one["bytes"] for one in originals)
    if not files:
        console.say("There are no originals of a move to delete.")
        return None
    say_originals(console, originals, hint=False)
    if order.dry_run:
        console.say(f"Nothing was deleted. To delete them: {in_earnest()}")
        return None
    question = f"Delete {plural(files, 'original')} ({size(total)})? There is no way back."
    if not _confirmed(console, order, "delete the originals", question, "Nothing was deleted."):
        return ExitCode.FAILED
    with stoppable(console, there.host):
        console.steps(moving.deleted(there, wish), shown=DIFFERENCES)
    console.document.details["deleted"] = console.answer
    say_deleted(console, console.answer)
    return None


def _confirmed(
    console: Console, order: Order, whether: str, question: str, otherwise: str = "Nothing was changed."
) -> bool:
    if order.yes:
        return True
    if not console.asks:
        raise unasked(whether, whether)
    if asked(console, lambda: click.confirm(question, err=True)):
        return True
    console.say(otherwise)
    return False
