"""Pure: what stands in the way of adopting an old server, and what should be known before saying yes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_provision.adoption.reading import LOOPBACK, is_url
from mlflow_provision.agent.adoption import UNFINISHED
from mlflow_provision.config import ENVIRONMENT, Deployment, password_problem
from mlflow_provision.preflight import Problem
from mlflow_provision.provision import Facts
from mlflow_provision.version import numbers

_ROOM = 100 << 20  # bytes that should stay free
_HOST_CHECK = (3, 5, 1)  # the first MLflow that looks at the Host of a request


def impossible(deployment: Deployment, facts: Facts) -> Iterator[Problem]:
    """Why this server cannot be adopted at all."""
    old = facts["old_server"]
    if deployment.scope != "system":
        yield Problem("a server is adopted as root, with systemd", "leave out --scope, and run it as root")
    if old is None:
        unit = f"mlflow-{deployment.name}.service"
        there = f": {unit} is a server that mlflow-provision made" if facts["unit"] == "ours" else ""
        yield Problem(
            f"there is no old server to adopt on this host{there}",
            "adoption finds a unit in /etc/systemd/system that starts `mlflow server`, or a folder ~/mlflow-server; "
            "without one, leave out --adopt",
        )
        return
    if facts["applied"] and facts["adoption"] not in UNFINISHED:
        yield Problem(
            f"the deployment {deployment.name} is there already, and has data of its own",
            "adopt the old server beside it: --name OTHER --port PORT",
        )
    if not old["database"]:
        files = old["store"] in ("", "files")
        yield Problem(
            f"the old server keeps its runs in {'files (./mlruns)' if files else old['store']}, "
            "and only SQLite databases can be adopted",
            "make one of them with MLflow's own tool: mlflow migrate-filestore --help"
            if files
            else "leave it as it is, and set up ours beside it: leave out --adopt, and add --port PORT",
        )
    if old["auth"]["on"] and not old["auth"]["database"]:
        yield Problem(
            "the old server keeps its users in another database than SQLite, and only that can be adopted",
            "leave it as it is, and set up ours beside it: leave out --adopt, and add --port PORT",
        )
    for option in old["special"]:
        yield Problem(
            f"the old server was started with {option}, and ours cannot be: whoever uses it would not find it again",
            "leave that out of its start script (with nginx in front of it, if need be), then adopt it",
        )
    if old["running"] and not old["unit"]:
        yield Problem(
            f"the old server in {old['tree']} runs (process {old['pid']}) without a unit of systemd: "
            "nothing could start it again if the adoption failed",
            f"stop it first, then run the same command again: sudo kill {old['pid']}",
        )


def problems(deployment: Deployment, facts: Facts, details: dict[str, Any]) -> Iterator[Problem]:
    """What stands in the way of taking over this old server, before anything is changed."""
    old = facts["old_server"]
    yield from _store_problems(deployment, old, details)
    if numbers(deployment.mlflow.version) < numbers(old["version"]):
        yield Problem(
            f"the old server's databases belong to MLflow {old['version']}; {deployment.mlflow.version} is older",
            f"take the same or a newer one: --mlflow-version {old['version']}",
        )
    problem = details["administrator"]["problem"]
    # A password that we would not take is replaced by the one given, which then is another one.
    if problem and (
        not details["administrator"]["password"] or not password_problem(details["administrator"]["password"])
    ):
        yield Problem(problem, f"set {ENVIRONMENT['admin_password']} to the password that works on the old server")
    elif old["auth"]["on"] and details["administrator"]["username"] != deployment.auth.admin_username:
        yield Problem(
            f"the administrator of the old server is {details['administrator']['username']}",
            f"say so: --admin-username {details['administrator']['username']}",
        )
    needed = 3 * details["database_bytes"] + details["artifact_bytes"] + _ROOM
    if facts["disk_free"] < needed:
        yield Problem(
            f"{facts['disk_free'] / 1e9:.1f} GB free at {facts['root']['path']} is too little for a copy of the data: "
            f"{needed / 1e9:.1f} needed (the old ones stay where they are)",
            'free some space, enlarge the disk, or use another one: root = "/path" in the deployment file',
        )


def _store_problems(deployment: Deployment, old: dict[str, Any], details: dict[str, Any]) -> Iterator[Problem]:
    wanted, there = deployment.artifacts.destination, old["artifacts"]
    if is_url(there) and not there.startswith("s3://"):
        yield Problem(
            f"the old server keeps its artifacts in {there}", "only buckets (s3://) and folders can be adopted"
        )
    elif is_url(there) and wanted != there.rstrip("/"):
        yield Problem(
            f"the old server keeps its artifacts in {there}, and adoption leaves them there",
            "leave out --artifacts, and move them afterwards if you want to",
        )
    elif is_url(wanted) and details["artifact_files"]:
        yield Problem(
            f"the old server has {details['artifact_files']} artifact files on its disk, and adoption does not move "
            f"them into {wanted}",
            "leave out --artifacts, or move those files into the bucket first",
        )


def no_credentials(deployment: Deployment, old: dict[str, Any]) -> Iterator[Problem]:
    """Where nobody has said how ours may use the bucket, and the old way cannot be ours."""
    if old["aws"].get("problem") and not deployment.artifacts.credentials:
        yield Problem(
            f"the old server's access to {old['artifacts']} cannot be taken over: {old['aws']['problem']}",
            "say how ours may use the bucket: --instance-role, --aws-profile PROFILE or --aws-keys",
        )


def warnings(deployment: Deployment, old: dict[str, Any]) -> list[str]:
    """What should be known before saying yes."""
    found = []
    if deployment.mlflow.listen not in LOOPBACK:
        found.append(
            "the server stays reachable as it was. Safer is a tunnel, once everybody has one: "
            f"mlflow-provision setup {deployment.name} --listen 127.0.0.1"
        )
    left = [name for name in old["allowed_hosts"] if "*" in name.removesuffix(":*")]
    if left:
        found.append(f"the old server answered to {', '.join(left)}; ours wants every name: --allowed-host NAME")
    if numbers(old["version"]) < _HOST_CHECK:
        found.append(
            "the old server answered to every name; ours answers to localhost and to the names of its host: "
            "for others, such as that of a web server in front of it, add --allowed-host NAME"
        )
    if numbers(old["version"]) < numbers(deployment.mlflow.version):
        found.append(
            f"the copied databases are migrated from MLflow {old['version'] or 'of an unknown version'} to "
            f"{deployment.mlflow.version}; the old ones are not touched"
        )
    if not old["proxied"] and is_url(old["artifacts"]):
        found.append(
            f"experiments that are there keep their artifacts at {old['artifacts']}: their users need keys of their "
            "own, as before; new experiments go through the server"
        )
    return found
