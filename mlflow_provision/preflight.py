"""Pure: everything that stands in the way of a setup, all at once, before anything is changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_provision.blueprint.reach import is_loopback
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION, Deployment
from mlflow_provision.config.rules.mlflow import age_problem
from mlflow_provision.uv_pin import UV_WHEELS
from mlflow_provision.version import newer

CLOCK_LIMIT = 300.0  # seconds; S3 refuses requests signed more than 15 minutes off, TLS and logs suffer earlier
MEMORY_NEEDED = 900 << 20  # a 1 GiB box reports a little less; the server takes 445 MB, the installer a bit more
DISK_NEEDED = 2 << 30  # a release is 0.7 GB, its download cache as much again on another filesystem
DISK_LOW = 200 << 20
_OLDEST = {"debian": 11, "ubuntu": 22}
_GIB = 1 << 30


@dataclass(frozen=True)
class Problem:
    """Something that must be mended first, and how."""

    message: str
    hint: str


def problems(
    deployment: Deployment, facts: dict[str, Any], clock_skew: float = 0.0, artifacts_moved: bool = False
) -> list[Problem]:
    """All problems of setting up `deployment` on the host with these `facts`; `clock_skew` in seconds."""
    found = [*_common(deployment, facts, clock_skew), *_version(deployment, facts)]
    return [*found, *_databases(deployment, facts), *_artifacts(deployment, facts, artifacts_moved)]


def upgrade_problems(deployment: Deployment, facts: dict[str, Any], clock_skew: float = 0.0) -> list[Problem]:
    """The same of changing a server's MLflow to the one that `deployment` names: its databases come along."""
    found = [*_common(deployment, facts, clock_skew), *_version(deployment, facts, "--to")]
    return [*found, *_artifacts(deployment, facts, artifacts_moved=False)]


def _common(deployment: Deployment, facts: dict[str, Any], clock_skew: float) -> list[Problem]:
    checks = (_platform(deployment, facts), _size(facts), _clock(clock_skew), _taken(deployment, facts))
    found = [problem for check in checks for problem in check]
    return [*found, *_restore(deployment, facts), *_upgrade(deployment, facts)]


def warnings(deployment: Deployment) -> list[str]:
    """What is allowed but should be known."""
    found = []
    if not is_loopback(deployment.mlflow.listen):
        found.append(
            f"the server will listen on {deployment.mlflow.listen}, beyond this host, over HTTP without encryption: "
            "passwords cross the network readable. Open the port only to those you trust, or use an SSH tunnel."
        )
    if deployment.mlflow.workers and deployment.mlflow.workers > 1:
        found.append(
            "with several workers a changed password works for up to a minute more: restart after removing a user"
        )
    return found + list(_backup_warnings(deployment))


def _backup_warnings(deployment: Deployment) -> Iterator[str]:
    backup = deployment.backup
    if backup.destination.startswith("/"):
        yield f"{backup.destination} is on the host itself: backups there are lost with its disk"
    if backup.scheduled and deployment.scope == "user":
        yield (
            "without root nothing makes backups by itself: "
            f"`mlflow-provision backup schedule {deployment.name}` prints the line for your crontab"
        )
    if deployment.gc.scheduled and deployment.scope == "user":
        yield (
            "without root nothing is removed by itself: "
            f"`mlflow-provision gc {deployment.name} --dry-run` prints the line for your crontab"
        )


def _restore(deployment: Deployment, facts: dict[str, Any]) -> Iterator[Problem]:
    if facts["restoring"]:
        yield Problem(
            f"a restore of {deployment.name} was interrupted half-way",
            f"finish it: mlflow-provision restore {deployment.name}; "
            f"or go back: mlflow-provision restore --undo {deployment.name}",
        )


def _upgrade(deployment: Deployment, facts: dict[str, Any]) -> Iterator[Problem]:
    if facts["upgrading"]:
        yield Problem(
            f"the MLflow of {deployment.name} is being upgraded, or that was interrupted half-way",
            f"if nobody is at it, go back to what was there: mlflow-provision rollback {deployment.name}",
        )


def _platform(deployment: Deployment, facts: dict[str, Any]) -> Iterator[Problem]:
    system = facts["os"]
    if deployment.scope == "system":
        major = system["version"].split(".")[0]
        supported = system["id"] in _OLDEST and major.isdigit() and int(major) >= _OLDEST[system["id"]]
        if not supported:
            yield Problem(
                f"{system['name']} is not supported", "use Debian 11 or newer, or Ubuntu 22.04 or newer, for the server"
            )
        if not facts["systemd"]:
            yield Problem(
                "this host does not run systemd, which keeps the server running",
                "use a host with systemd, or on this machine: mlflow-provision setup local --scope user",
            )
    if facts["arch"] not in UV_WHEELS:
        yield Problem(f"there are no packages for the processor {facts['arch']}", "use an x86_64 or aarch64 machine")
    libc = tuple(int(part) for part in facts["libc"].split(".") if part.isdigit())
    if libc < (2, 28):
        yield Problem(
            f"this system's C library is {facts['libc'] or 'not glibc'}; MLflow's packages need glibc 2.28 or newer",
            "use a newer distribution",
        )


def _size(facts: dict[str, Any]) -> Iterator[Problem]:
    if facts["memory"] < MEMORY_NEEDED:
        yield Problem(
            f"{facts['memory'] / _GIB:.1f} GiB of memory is too little: the server alone takes about 0.45",
            "use a host with 2 GiB (1 GiB is the least)",
        )
    needed = DISK_LOW if facts["release_installed"] else DISK_NEEDED
    if facts["disk_free"] < needed:
        yield Problem(
            f"{facts['disk_free'] / _GIB:.1f} GiB free at {facts['root']['path']} is too little: "
            f"{needed / _GIB:.1f} needed",
            'free some space, enlarge the disk, or use another one: root = "/path" in the deployment file',
        )


def _clock(skew: float) -> Iterator[Problem]:
    if abs(skew) > CLOCK_LIMIT:
        yield Problem(
            f"the host's clock is {abs(skew) / 60:.0f} minutes {'ahead of' if skew > 0 else 'behind'} this machine's",
            "set it right: sudo timedatectl set-ntp true (or this machine's, if that is the wrong one)",
        )


def _taken(deployment: Deployment, facts: dict[str, Any]) -> Iterator[Problem]:
    root, unit = facts["root"], f"mlflow-{deployment.name}.service"
    if root["state"] == "foreign":
        yield Problem(
            f"{root['path']} is not empty and was not made by mlflow-provision",
            f'move it away (sudo mv {root["path"]} {root["path"]}.old) or choose another folder: root = "/path"',
        )
    if facts["unit"] == "foreign":
        yield Problem(
            f"there is a {unit} on this host that mlflow-provision did not make",
            "give this deployment another name: --name OTHER",
        )
    owner = facts["port_owner"]
    if owner and not owner["ours"]:
        what = owner["name"] + (
            f" (process {owner['pid']}" + (f", {owner['unit']}" if owner["unit"] else "") + ")" if owner["pid"] else ""
        )
        yield Problem(
            f"port {deployment.mlflow.port} is used by {what}", f"choose another: --port {facts['free_port']}"
        )


def _version(deployment: Deployment, facts: dict[str, Any], flag: str = "--mlflow-version") -> Iterator[Problem]:
    """`flag` is the option that names another version."""
    index, version = facts["index"], deployment.mlflow.version
    runs_it = (facts["applied"] or {}).get("mlflow_version") == version
    if not runs_it and (old := age_problem(version)):
        yield Problem(old, f"take the one that is tested: {flag} {DEFAULT_MLFLOW_VERSION}")
        return
    if not index:
        return
    if index["error"]:
        yield Problem(index["error"], index["hint"])
    elif not index["versions"]:
        yield Problem(
            f"{deployment.mlflow.index_url or 'the package index'} lists no MLflow that can be installed",
            "is it the URL of the list of all projects (often …/simple)? Else name another: --index-url URL",
        )
    elif version in index["half_published"]:
        yield Problem(
            f"MLflow {version} is only half published: the index lists it, but not the packages it is made of",
            f"take the newest that installs: {flag} {index['versions'][0]}",
        )
    elif version not in index["versions"] and version.replace(".", "").isdigit():
        offered = ", ".join(_like(version, index["versions"], (facts["applied"] or {}).get("mlflow_version") or ""))
        yield Problem(f"there is no MLflow {version}", f"there are: {offered} ({flag} latest takes the newest)")


def _like(version: str, known: list[str], running: str) -> list[str]:
    """What somebody may have meant, the newest first; a server that runs becomes no older."""
    possible = [one for one in known if not running or newer(one, running)] or known
    near = difflib.get_close_matches(version, possible, 3, 0.5)
    return [one for one in possible if one in near or one == possible[0]]


def _databases(deployment: Deployment, facts: dict[str, Any]) -> Iterator[Problem]:
    """Those of the server that is there belong to the MLflow that it runs."""
    # A record that somebody edited, or another release of ours wrote, may lack anything.
    version, wanted = (facts["applied"] or {}).get("mlflow_version"), deployment.mlflow.version
    if version and version != wanted:
        name = deployment.name
        upgrade, rollback = f"mlflow-provision upgrade {name} --to {wanted}", f"mlflow-provision rollback {name}"
        yield Problem(
            f"this server runs MLflow {version}, and its databases belong to that version; "
            f"setup does not migrate them to {wanted}",
            (f"upgrade it: {upgrade}" if newer(wanted, version) else f"go back, where it was upgraded: {rollback}")
            + f'; or keep version = "{version}"',
        )


def _artifacts(deployment: Deployment, facts: dict[str, Any], artifacts_moved: bool) -> Iterator[Problem]:
    """The server that is there has some already."""
    artifacts = (facts["applied"] or {}).get("artifacts")
    wanted = deployment.artifacts.destination or f"{facts['root']['path']}/{deployment.name}/data/artifacts"
    if artifacts and artifacts != wanted and not artifacts_moved:
        yield Problem(
            f"this server keeps its artifacts in {artifacts}; with {wanted} those would no longer be found",
            "copy them there first, then say so: --artifacts-moved",
        )
