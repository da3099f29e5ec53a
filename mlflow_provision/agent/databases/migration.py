"""MLflow's own migration of its databases, run on copies that no server uses."""

from __future__ import annotations

import contextlib
from textwrap import indent
from typing import Callable, Iterator

from mlflow_provision.agent import release_program
from mlflow_provision.agent.databases import denials

_MIGRATE = f"""
become(request["user"])
os.chdir(os.path.dirname(request["tracking"]))
{denials.NOTED}
from sqlalchemy import create_engine
from mlflow.store.db.utils import _upgrade_db
engine = create_engine("sqlite:///" + request["tracking"])
_upgrade_db(engine)
engine.dispose()
if request["auth"]:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    store = SqlAlchemyStore()
    store.init_db("sqlite:///" + request["auth"])
    {indent(denials.CARRIED_OVER, "    ")}
    store.engine.dispose()
"""


def migrate(
    release: str, config: str, owner: str, tracking: str, auth: str, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Bring a tracking database, and one of users ("": none), to the schema of a release, as the user `owner`."""
    request = {"user": owner, "tracking": tracking, "auth": auth}
    release_program.run(release, config, _MIGRATE, request, stopping)


@contextlib.contextmanager
def ready(
    release: str, config: str, stopping: Callable[[], bool] = lambda: False
) -> Iterator[Callable[[str, str, str], None]]:
    """The same for who wants it done soon after, and quickly: importing MLflow takes longer than most migrations. What
    this gives is called once, with the owner and the two databases."""
    with release_program.waiting(release, config, release_program.IMPORT, _MIGRATE, stopping) as go:

        def at_once(owner: str, tracking: str, auth: str) -> None:
            go({"user": owner, "tracking": tracking, "auth": auth})

        yield at_once
