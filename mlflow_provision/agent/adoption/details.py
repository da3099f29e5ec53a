"""The verb `old-server`: everything about a server to adopt that takes longer to find out, or is secret. Reads only."""

from __future__ import annotations

import os
from typing import Any

from mlflow_provision.agent.adoption import aws, files, find, passwords, places
from mlflow_provision.agent.databases import contents


def details(data: dict[str, Any]) -> dict[str, Any]:
    """`counts`, `artifact_files`, `artifact_bytes`, `database_bytes`, `administrator` and `keys`, for the operator's
    secrets file. `data`: the fact `old_server` as `old`, the `admin_password` that was given ("": none), and whether
    artifacts are `copied`."""
    old = data["old"]
    live = find.running(old) is not None
    counts = contents.looked_up(old["database"], old["user"], live, contents.counts)
    auth = old["auth"].get("database", "")
    if auth and os.path.exists(auth):
        counts.update(contents.looked_up(auth, old["user"], live, contents.counts))
    number, size = files.size(places.moves_of(old, live))
    keys = old["aws"].get("credentials") == "keys"
    return {
        "counts": counts,
        "artifact_files": number,
        "artifact_bytes": size,
        "database_bytes": sum(
            os.path.getsize(path) for path in (old["database"], auth) if path and os.path.exists(path)
        ),
        "administrator": passwords.administrator(old, data.get("admin_password", ""), live),
        "keys": aws.keys_of(find.environment_of(old), old["user"]) if keys else {},
    }
