"""Adopting a server that a shell script made, without printing: its settings, what stands in the way, the move."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision import blueprint, preflight
from mlflow_provision.agent.protocol import Event
from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint.adoption import adopting
from mlflow_provision.config import (
    DEFAULT_MLFLOW_VERSION,
    ENVIRONMENT,
    Deployment,
    Secrets,
    generate_password,
    password_problem,
)
from mlflow_provision.host import Host, answer
from mlflow_provision.host.program import operator
from mlflow_provision.layout import Layout
from mlflow_provision.preflight import Problem
from mlflow_provision.provision import UNFINISHED, Facts, Prepared, look, refuse, with_keys

Settings = dict[str, Any]
ADOPTED = "adopted"
_ROOM = 100 << 20  # bytes that should stay free
_HOST_CHECK = (3, 5, 1)  # the first MLflow that looks at the Host of a request
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass(frozen=True)
class Adoption:
    """Everything decided: what is taken over, and the resources that do it."""

    prepared: Prepared
    old: dict[str, Any]
    details: dict[str, Any] = field(repr=False)  # of the verb `old-server`
    notes: list[str]


def settings(old: dict[str, Any]) -> Settings:
    """The settings of an old server (`facts["old_server"]`) by the keys of a deployment file. No secret is in there."""
    found: Settings = {
        "mlflow.version": _newer(old["version"], DEFAULT_MLFLOW_VERSION),
        "mlflow.port": old["port"],
        "mlflow.listen": "127.0.0.1" if old["listen"] == "localhost" else old["listen"],
        "mlflow.allowed_hosts": _names(old["allowed_hosts"]),
    }
    if old["auth"]["on"]:
        found["auth.admin_username"] = old["auth"]["admin_username"]
        found["auth.default_permission"] = old["auth"]["default_permission"]
    if _is_url(old["artifacts"]):
        found["artifacts.destination"] = old["artifacts"]
        found |= {f"artifacts.{key}": old["aws"].get(key, "") for key in ("region", "endpoint_url", "credentials")}
        found["artifacts.profile"] = ""
    return found


def with_settings(deployment: Deployment, old: dict[str, Any]) -> Deployment:
    """The deployment with the old server's settings wherever nothing else than the default was asked for."""
    from mlflow_provision.config import changed

    plain = Deployment(deployment.name, deployment.host)
    wanted = {key: value for key, value in settings(old).items() if _at(deployment, key) == _at(plain, key)}
    if any(_at(deployment, f"artifacts.{key}") for key in ("destination", "credentials", "profile")):
        kept = ("artifacts.credentials", "artifacts.profile")  # they belong together
        wanted = {
            key: value for key, value in wanted.items() if key not in kept or not deployment.artifacts.credentials
        }
    return changed(deployment, wanted)


def prepare(host: Host, deployment: Deployment, secrets: Secrets) -> Adoption:
    """Ask the host about the old server, decide what is open, and refuse at once with all that stands in the way.

    `deployment` already has the old server's settings. Nothing on the host changes.
    """
    facts, skew = look(host, deployment)
    old = facts["old_server"]
    refuse(list(impossible(deployment, facts)))
    request = {"old": old, "admin_password": secrets.admin_password}
    details = answer(host, "old-server", request)
    secrets, notes = with_old_password(deployment, secrets, details)
    if details["keys"] and deployment.artifacts.credentials == "keys" and not secrets.aws_access_key_id:
        secrets = replace(secrets, **details["keys"])
    deployment, secrets = with_keys(deployment, secrets)
    found = preflight.problems(deployment, without_old(facts, deployment), skew)
    refuse([*found, *problems(deployment, facts, details)])
    old_password = details["administrator"]["password"]
    resources = adopting(deployment, secrets, facts, operator(), summary(details, old), old_password)
    return Adoption(Prepared(deployment, secrets, facts, resources), old, details, [*notes, *warnings(deployment, old)])


def adopt(host: Host, adoption: Adoption, what: str) -> Iterator[Event]:
    """Move, start, verify, compare; or bring the old server back. The data of the last event: `changes`, `checks`,
    `adopted` (counts) and `backup` (a folder on the host)."""
    prepared = adoption.prepared
    layout = Layout(prepared.deployment, PurePosixPath(prepared.facts["root"]["path"]))
    data = {
        "resources": [to_json(resource) for resource in prepared.resources],
        "verify": blueprint.verify_request(prepared.deployment, prepared.secrets, prepared.facts),
        "lock": str(layout.lock),
        "what": what,
    }
    return host.request("adopt", data)


def with_old_password(deployment: Deployment, secrets: Secrets, details: dict[str, Any]) -> tuple[Secrets, list[str]]:
    """The administrator keeps the old password. One that we would not take is replaced, by the one given or a new one;
    and a server without users gets its first one."""
    old = details["administrator"]["password"]
    if old and not password_problem(old):
        return (secrets if secrets.admin_password else replace(secrets, admin_password=old)), []
    notes = []
    if old:
        why = password_problem(old)
        notes.append(f"the old password of {deployment.auth.admin_username} {why}: the administrator gets another one")
    elif not details["administrator"]["username"]:
        notes.append(
            "the old server asked nobody for a password. Ours does: whoever uses it needs a user from then on, and the "
            "first one is the administrator"
        )
    return replace(secrets, admin_password=secrets.admin_password or generate_password()), notes


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
    if _numbers(deployment.mlflow.version) < _numbers(old["version"]):
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
    if _is_url(there) and not there.startswith("s3://"):
        yield Problem(
            f"the old server keeps its artifacts in {there}", "only buckets (s3://) and folders can be adopted"
        )
    elif _is_url(there) and wanted != there.rstrip("/"):
        yield Problem(
            f"the old server keeps its artifacts in {there}, and adoption leaves them there",
            "leave out --artifacts, and move them afterwards if you want to",
        )
    elif _is_url(wanted) and details["artifact_files"]:
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
    if deployment.mlflow.listen not in _LOOPBACK:
        found.append(
            "the server stays reachable as it was. Safer is a tunnel, once everybody has one: "
            f"mlflow-provision setup {deployment.name} --listen 127.0.0.1"
        )
    left = [name for name in old["allowed_hosts"] if "*" in name.removesuffix(":*")]
    if left:
        found.append(f"the old server answered to {', '.join(left)}; ours wants every name: --allowed-host NAME")
    if _numbers(old["version"]) < _HOST_CHECK:
        found.append(
            "the old server answered to every name; ours answers to localhost and to the names of its host: "
            "for others, such as that of a web server in front of it, add --allowed-host NAME"
        )
    if _numbers(old["version"]) < _numbers(deployment.mlflow.version):
        found.append(
            f"the copied databases are migrated from MLflow {old['version'] or 'of an unknown version'} to "
            f"{deployment.mlflow.version}; the old ones are not touched"
        )
    if not old["proxied"] and _is_url(old["artifacts"]):
        found.append(
            f"experiments that are there keep their artifacts at {old['artifacts']}: their users need keys of their "
            "own, as before; new experiments go through the server"
        )
    return found


def without_old(facts: Facts, deployment: Deployment) -> Facts:
    """The facts as they will be once the old server has made room."""
    old, owner = facts["old_server"], facts["port_owner"]
    seen = dict(facts)
    if old["unit"] == f"mlflow-{deployment.name}.service":
        seen["unit"] = "absent"
    if owner and old["unit"] and owner["unit"] == old["unit"]:
        seen["port_owner"] = None
    if facts["adoption"] in UNFINISHED:
        seen["applied"] = None
    return seen


def summary(details: dict[str, Any], old: dict[str, Any]) -> str:
    """What there is to take over, in a few words."""
    counts = details["counts"]
    parts = [_plural(counts.get(word, 0), word[:-1]) for word in ("experiments", "runs", "models", "users")]
    if details["artifact_files"] or not _is_url(old["artifacts"]):
        parts.append(_plural(details["artifact_files"], "artifact file"))
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "nothing but an empty database"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _names(allowed: list[str]) -> tuple[str, ...]:
    """Names that our own list can hold: without ports, and without those that every server answers to."""
    names = [re.sub(r":(\*|[0-9]+)$", "", name) if name.count(":") == 1 else name for name in allowed]
    return tuple(dict.fromkeys(name for name in names if "*" not in name and name not in _LOOPBACK))


def _is_url(place: str) -> bool:
    return "://" in place


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _newer(one: str, other: str) -> str:
    """The later of two versions. Staying behind would be for ever: setup does not migrate databases later."""
    return one if _numbers(one) > _numbers(other) else other


def _at(deployment: Deployment, path: str) -> Any:
    section, _, key = path.rpartition(".")
    return getattr(getattr(deployment, section) if section else deployment, key)
