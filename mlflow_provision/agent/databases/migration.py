"""MLflow's own migration of its databases, run on copies that no server uses."""

from __future__ import annotations

from typing import Callable

from mlflow_provision.agent import release_program

_MIGRATE = """
become(request["user"])
os.chdir(os.path.dirname(request["tracking"]))
from sqlalchemy import create_engine
from mlflow.store.db.utils import _upgrade_db
engine = create_engine("sqlite:///" + request["tracking"])
_upgrade_db(engine)
engine.dispose()
if request["auth"]:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    store = SqlAlchemyStore()
    store.init_db("sqlite:///" + request["auth"])
    store.engine.dispose()
"""


def migrate(
    release: str, config: str, owner: str, tracking: str, auth: str, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Bring a tracking database, and one of users ("": none), to the schema of a release, as the user `owner`."""
    request = {"user": owner, "tracking": tracking, "auth": auth}
    release_program.run(release, config, _MIGRATE, request, stopping)
