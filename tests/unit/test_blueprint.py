"""The blueprint: pure, in an order that works, and with every secret in its place."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from mlflow_provision.agent.names import SIGNATURE
from mlflow_provision.agent.resources import Resource, from_json, to_json
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.store_access import StoreAccess
from mlflow_provision.blueprint import blueprint, facts_request, removal, service, verify_request
from mlflow_provision.blueprint.service import RESTART_ON
from mlflow_provision.config import Artifacts, Backup, Deployment, Secrets
from tests.unit.hosts import (
    BACKED_UP,
    BACKUP_FOLDER,
    CASES,
    INSTANCE_ROLE,
    LOCAL,
    OTHER_SECRETS,
    S3_KEYS,
    SECRETS,
    facts,
    server,
)

each_case = pytest.mark.parametrize("deployment", CASES.values(), ids=list(CASES))
CANARIES = list(dataclasses.asdict(SECRETS).values())


def made(deployment: Deployment, secrets: Secrets = SECRETS, **other: Any) -> list[Resource]:
    return blueprint(deployment, secrets, facts(deployment, **other), "ada@laptop")


def by_id(resources: list[Resource]) -> dict[str, Resource]:
    return {resource.id: resource for resource in resources}


def path_of(resource: Resource) -> str:
    return str(getattr(resource, "path", ""))


@each_case
def test_the_store_is_proved_first_and_the_record_is_written_last(deployment: Deployment) -> None:
    resources = made(deployment)
    stores = [place.startswith("s3://") for place in (deployment.artifacts.destination, deployment.backup.destination)]
    assert [isinstance(resource, StoreAccess) for resource in resources] == sorted(
        [True] * sum(stores) + [False] * (len(resources) - sum(stores)), reverse=True
    )
    assert resources[-1].id == "record"


@each_case
def test_ids_are_unique(deployment: Deployment) -> None:
    resources = made(deployment)
    assert len(by_id(resources)) == len(resources)


@each_case
def test_the_service_comes_after_all_that_it_is_started_with(deployment: Deployment) -> None:
    resources = made(deployment)
    ids = [resource.id for resource in resources]
    watching: Any = by_id(resources)["service"]
    for name in set(watching.restart_on) & set(ids):
        assert ids.index(name) < ids.index("service")
    links = {path_of(resource) for resource in resources if type(resource).__name__ == "Symlink"}
    written = {path_of(resource) for resource in resources if type(resource).__name__ in ("File", "GeneratedSecrets")}
    for watched in watching.watched:
        assert watched in written or str(Path(watched).parent) in links


def test_what_asks_for_a_restart_exists_at_least_in_some_deployment() -> None:
    ids = {resource.id for deployment in CASES.values() for resource in made(deployment)}
    assert set(RESTART_ON) <= ids
    conditional = {"aws-credentials", "aws-config", "unit"}
    for deployment in CASES.values():
        assert set(RESTART_ON) - conditional <= {resource.id for resource in made(deployment)}


@each_case
def test_every_file_of_the_server_asks_for_a_restart_when_it_changes(deployment: Deployment) -> None:
    kinds = ("File", "GeneratedSecrets")
    jobs = {f"{does}-{part}" for does in ("backup", "gc") for part in ("job", "unit", "timer-unit")}
    others = {"marker", "deployment.toml", *jobs}
    files = [one for one in made(deployment) if type(one).__name__ in kinds and one.id not in others]
    watching: Any = by_id(made(deployment))["service"]
    assert {resource.id for resource in files} <= set(RESTART_ON)
    assert {path_of(resource) for resource in files} <= set(watching.watched)


def test_the_record_has_a_hash_of_every_file_but_those_with_secrets() -> None:
    resources = made(S3_KEYS)
    record: Any = by_id(resources)["record"]
    files = {resource.path for resource in resources if isinstance(resource, File) and not resource.secret_keys}
    assert set(record.facts["hashes"]) == files
    assert not any("credentials" in path for path in files)


@each_case
def test_a_folder_comes_before_what_is_in_it(deployment: Deployment) -> None:
    folders: list[str] = []
    for resource in made(deployment):
        parent = str(PurePosixPath(path_of(resource)).parent)
        if isinstance(resource, Directory):
            folders.append(resource.path)
        elif type(resource).__name__ in ("File", "Symlink", "GeneratedSecrets", "SqliteDatabase", "Record"):
            assert parent in folders or parent == "/etc/systemd/system"


@each_case
def test_the_user_comes_before_what_belongs_to_it(deployment: Deployment) -> None:
    seen: set[str] = {"", "root"}
    for resource in made(deployment):
        if type(resource).__name__ == "User":
            seen.add(str(getattr(resource, "name", "")))
        assert {getattr(resource, "owner", ""), getattr(resource, "group", "")} <= seen


@each_case
def test_it_travels_as_json(deployment: Deployment) -> None:
    for resource in made(deployment):
        assert from_json(json.loads(json.dumps(to_json(resource)))) == resource


@each_case
def test_the_same_in_the_same_out(deployment: Deployment) -> None:
    assert made(deployment) == made(deployment)


@each_case
def test_no_secret_shows_where_resources_are_printed_or_recorded(deployment: Deployment) -> None:
    resources = made(deployment)
    printed = repr(resources) + " ".join(resource.title for resource in resources)
    recorded = json.dumps(to_json(by_id(resources)["record"]))
    for canary in CANARIES:
        assert canary not in printed
        assert canary not in recorded


@each_case
def test_a_file_with_a_secret_is_closed_to_others_and_its_keys_are_hidden(deployment: Deployment) -> None:
    for resource in made(deployment):
        if isinstance(resource, File) and any(canary in resource.content for canary in CANARIES):
            assert resource.secret_keys
            assert resource.mode & 0o007 == 0
            lines = [line for line in resource.content.splitlines() if any(canary in line for canary in CANARIES)]
            assert {line.split(": " if ":" in line else " = ")[0].strip(' "') for line in lines} <= {
                *resource.secret_keys
            }


def test_the_admin_password_is_in_no_file() -> None:
    for deployment in CASES.values():
        for resource in made(deployment):
            assert SECRETS.admin_password not in getattr(resource, "content", "")


@each_case
def test_what_the_service_user_may_write_is_its_data_alone(deployment: Deployment) -> None:
    root = facts(deployment)["root"]["path"]
    base = f"{root}/{deployment.name}"
    allowed = [f"{base}/data", f"{base}/backup/state", f"{base}/gc", deployment.artifacts.destination or f"{base}/data"]
    if deployment.backup.destination.startswith("/"):
        allowed.append(f"{deployment.backup.destination}/{deployment.name}")
    for resource in made(deployment):
        if deployment.scope == "system" and isinstance(resource, (Directory, File)):
            theirs = resource.owner not in ("root", "")
            assert theirs == resource.path.startswith(tuple(allowed)), resource.path
            assert resource.mode & 0o022 == 0


def test_without_root_everything_belongs_to_the_person_alone() -> None:
    for deployment in (LOCAL, dataclasses.replace(LOCAL, artifacts=S3_KEYS.artifacts)):
        for resource in made(deployment):
            assert getattr(resource, "owner", "") == getattr(resource, "group", "") == ""
            assert path_of(resource).startswith("/home/ada/mlflow") or not path_of(resource)
            if "/etc" in path_of(resource) or path_of(resource).endswith("/data"):  # a group may be shared by many
                assert getattr(resource, "mode", 0) & 0o077 == 0, resource.title


@each_case
def test_every_file_says_who_manages_it(deployment: Deployment) -> None:
    for resource in made(deployment):
        if isinstance(resource, File) and resource.id not in ("marker", "backup-job", "gc-job"):  # JSON has no comments
            assert SIGNATURE in "".join(resource.content.splitlines()[:2])


def changed(before: Deployment, after: Deployment, secrets: Secrets = SECRETS, **other: Any) -> set[str]:
    """Ids of the resources that are other ones in another deployment."""
    old, new = by_id(made(before)), by_id(made(after, secrets, **other))
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


@pytest.mark.parametrize(
    ("section", "value", "ids"),
    [
        ("mlflow", {"workers": 3}, {"server.env"}),
        ("mlflow", {"port": 8080}, {"server.env", "service"}),
        ("mlflow", {"job_execution": True}, {"server.env"}),
        ("mlflow", {"allowed_hosts": ("mlflow.example.com",)}, {"server.env"}),
        ("mlflow", {"index_url": "https://mirror.example/simple"}, {"uv", "release"}),
        ("mlflow", {"version": "3.16.1"}, {"release", "venv", "admin"}),
        ("auth", {"default_permission": "NO_PERMISSIONS"}, {"basic_auth.ini"}),
        ("auth", {"admin_username": "ada"}, {"basic_auth.ini", "admin"}),
        ("artifacts", {"region": "eu-west-1"}, {"store", "aws-config", "server.env"}),
        ("artifacts", {"profile": "other", "credentials": "profile"}, {"aws-credentials", "aws-config", "server.env"}),
        ("artifacts", {"destination": "s3://other"}, {"store", "server.env"}),
    ],
)
def test_a_changed_value_changes_what_follows_from_it(section: str, value: dict[str, Any], ids: set[str]) -> None:
    after = dataclasses.replace(S3_KEYS, **{section: dataclasses.replace(getattr(S3_KEYS, section), **value)})
    assert changed(S3_KEYS, after) - {"record"} == ids


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ({"keep_daily": 8}, {"backup-job"}),
        ({"schedule": "daily"}, {"backup-timer-unit"}),
        ({"append_only": False}, {"backup-store", "backup-job"}),
        ({"encryption": "", "recipient": ""}, {"age", "backup-job"}),
        (
            {"destination": "/srv/b", "credentials": "", "region": "", "append_only": False},
            {"backup-store", "backup-job", "backup-unit", "backup-folder"},
        ),
        ({"schedule": "off"}, {"agent", "backup-job", "backup-unit", "backup-timer", "backup-timer-unit"}),
    ],
)
def test_a_changed_value_of_backups_changes_nothing_of_the_server(value: dict[str, Any], ids: set[str]) -> None:
    after = dataclasses.replace(BACKED_UP, backup=dataclasses.replace(BACKED_UP.backup, **value))
    assert changed(BACKED_UP, after) - {"record", "deployment.toml"} == ids
    assert not ids & {*RESTART_ON}


def test_backups_that_are_not_wanted_any_more_leave_nothing_that_acts_or_knows_a_key() -> None:
    for backup in (Backup(), dataclasses.replace(BACKED_UP.backup, schedule="off")):
        resources = by_id(made(dataclasses.replace(BACKED_UP, backup=backup)))
        assert type(resources["backup-timer"]).__name__ == "TimerAbsent"
        assert type(resources["backup-job"]).__name__ == type(resources["agent"]).__name__ == "PathAbsent"
        assert "backup-unit" not in resources
        assert (type(resources["deployment.toml"]).__name__ == "PathAbsent") == (not backup.destination)


def test_changed_secrets_change_what_holds_them() -> None:
    assert changed(S3_KEYS, S3_KEYS, OTHER_SECRETS) == {"store", "aws-credentials", "admin", "record"}
    assert changed(BACKED_UP, BACKED_UP, OTHER_SECRETS) == {"store", "backup-store", "backup-job", "admin", "record"}
    assert changed(BACKUP_FOLDER, BACKUP_FOLDER, OTHER_SECRETS) == {"backup-job", "admin"}
    assert changed(INSTANCE_ROLE, INSTANCE_ROLE, dataclasses.replace(SECRETS, admin_password="x")) == {"admin"}


@pytest.mark.parametrize(
    ("memory", "cpus", "workers"), [(1, 1, 1), (2, 2, 1), (8, 16, 1), (16, 2, 1), (16, 4, 2), (32, 8, 4), (512, 64, 4)]
)
def test_the_server_is_as_large_as_its_host_allows(memory: int, cpus: int, workers: int) -> None:
    env: Any = by_id(made(server(), memory=(memory << 30) - (200 << 20), cpus=cpus))["server.env"]
    assert f"MLFLOW_WORKERS={workers}\n" in env.content
    env = by_id(made(server(mlflow={"workers": 7}), memory=memory << 30, cpus=cpus))["server.env"]
    assert "MLFLOW_WORKERS=7\n" in env.content


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:5000"),
        ("10.0.0.7", "http://10.0.0.7:5000"),
        ("::1", "http://[::1]:5000"),
        ("::", "http://[::1]:5000"),
    ],
)
def test_where_the_host_itself_reaches_the_server(listen: str, url: str) -> None:
    assert service(server(mlflow={"listen": listen}), facts(server())).url == url


@each_case
def test_the_service_is_the_one_of_the_blueprint(deployment: Deployment) -> None:
    assert service(deployment, facts(deployment)) == by_id(made(deployment))["service"]


@each_case
def test_requests_are_json_and_name_the_same_release(deployment: Deployment) -> None:
    asked = facts_request(deployment)
    assert json.loads(json.dumps(asked)) == asked
    release: Any = by_id(made(deployment))["release"]
    assert PurePosixPath(release.path).name == asked["release"]
    verified = verify_request(deployment, SECRETS, facts(deployment))
    assert json.loads(json.dumps(verified))["password"] == SECRETS.admin_password


def test_a_quick_look_kills_nothing_and_needs_no_password() -> None:
    quick = verify_request(LOCAL, SECRETS, facts(), "quick")
    assert (quick["kill"], quick["password"]) == (False, "")
    assert verify_request(LOCAL, SECRETS, facts())["kill"] is True


@each_case
def test_destroy_reaches_everything_that_setup_makes(deployment: Deployment) -> None:
    host = facts(deployment)
    gone = removal(deployment, host, delete_data=True)
    below = tuple(path_of(resource) for resource in gone if path_of(resource))
    shared = [f"{host['root']['path']}{part}" for part in ("", "/.mlflow-provision", "/bin/uv", "/releases/")]
    [unit_file] = [str(getattr(resource, "unit_file", "")) for resource in gone if resource.id == "service"]
    timers: list[Any] = [resource for resource in gone if type(resource).__name__ == "TimerAbsent"]
    units = [unit_file, *(f"{timer.folder}/{unit}" for timer in timers for unit in (timer.unit, timer.service))]
    kept = (deployment.artifacts.destination, f"{deployment.backup.destination}/{deployment.name}")
    for resource in made(deployment):
        path = path_of(resource)
        assert (
            not path
            or path.startswith(below)
            or path in (*shared, *units, *kept)
            or path.startswith((shared[-1], f"{host['root']['path']}/tools/"))
        ), path


@each_case
def test_destroy_keeps_data_unless_asked(deployment: Deployment) -> None:
    base = f"{facts(deployment)['root']['path']}/{deployment.name}"
    kept = [f"{base}/data/mlflow.db", f"{base}/data/basic_auth.db", f"{base}/etc/secrets.env", f"{base}/data/artifacts"]
    gone = [path_of(resource) for resource in removal(deployment, facts(deployment), delete_data=False)]
    for path in kept:
        assert not any(path == part or path.startswith(part + "/") for part in gone if part)
    assert "UserAbsent" not in {type(resource).__name__ for resource in removal(deployment, facts(deployment), False)}


def test_it_reads_nothing_but_its_own_templates_and_constraints() -> None:
    made(S3_KEYS)  # everything is imported by now
    child = os.fork()
    if child == 0:
        own = (str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix, *map(str, sys.path[1:]))

        def look(event: str, arguments: tuple[Any, ...]) -> None:
            foreign = event == "open" and not (str(arguments[0]).startswith(own) and arguments[1] in ("r", "rb", None))
            if foreign or event.startswith(("socket.", "subprocess.", "os.mkdir", "os.rename", "os.remove", "shutil.")):
                os.write(2, f"{event} {arguments}\n".encode())
                os._exit(1)

        sys.addaudithook(look)
        for deployment in CASES.values():
            made(deployment)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_spelling_of_a_destination_is_as_good_as_another() -> None:
    slash = dataclasses.replace(
        INSTANCE_ROLE, artifacts=Artifacts("s3://basketworld/mlflow/", "us-west-1", "", "instance-role")
    )
    assert made(slash) == made(INSTANCE_ROLE)
