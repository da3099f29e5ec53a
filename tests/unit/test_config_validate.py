"""What can be built, and how each thing that cannot is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlflow_provision.config import Artifacts, Deployment, check, validate
from mlflow_provision.errors import ExitCode, ProvisionError

GOOD = Deployment(name="prod", host="ubuntu@203.0.113.7")
S3 = Artifacts(destination="s3://basketworld/mlflow", region="us-west-1", credentials="instance-role")
NASTY = [
    "a b",
    "a'b",
    'a"b',
    "a\nb",
    "a\n",
    "a\rb",
    "a\x00b",
    "a\x1b[31mb",
    "$(reboot)",
    "`reboot`",
    "a;reboot",
    "a|b",
    "a&b",
    "a>b",
    "a\\b",
    "../../etc/passwd",
    "été",
    "\u202eevil",
    "💥",
    " ",
    "x" * 100_000,
]
DOTTED = {
    "name": "name",
    "host": "host",
    "scope": "scope",
    "root": "root",
    "version": "mlflow.version",
    "port": "mlflow.port",
    "listen": "mlflow.listen",
    "workers": "mlflow.workers",
    "allowed_hosts": "mlflow.allowed_hosts",
    "index_url": "mlflow.index_url",
    "destination": "artifacts.destination",
    "region": "artifacts.region",
    "endpoint_url": "artifacts.endpoint_url",
    "credentials": "artifacts.credentials",
    "profile": "artifacts.profile",
    "admin_username": "auth.admin_username",
    "default_permission": "auth.default_permission",
    "schedule": "backup.schedule",
}


def changed(base: Deployment = GOOD, **values: Any) -> Deployment:
    """`base` with some keys changed, wherever they live."""
    for key, value in values.items():
        table, dot, _ = DOTTED.get(key, key).rpartition(".")
        if dot:
            base = replace(base, **{table: replace(getattr(base, table), **{key: value})})
        else:
            base = replace(base, **{key: value})
    return base


def only_problem(deployment: Deployment) -> str:
    problems = validate(deployment)
    assert len(problems) == 1, problems
    assert "\n" not in problems[0]
    assert "\x1b" not in problems[0]
    assert len(problems[0]) < 400
    return problems[0]


@pytest.mark.parametrize(
    "deployment",
    [
        GOOD,
        changed(name="a"),
        changed(name="team-7-staging"),
        changed(name="x" * 25),
        changed(host="local"),
        changed(host="my-alias"),
        changed(host="root@[2001:db8::1]"),
        changed(host="ssh://ubuntu@example.com:2222"),
        changed(host="local", scope="user", root="~/tracking/mlflow"),
        changed(host="local", scope="user", root="/home/jane/mlflow"),
        changed(identity_file="~/.ssh/key with space.pem"),
        changed(root="/srv/mlflow"),
        changed(root="/srv/mlflow/"),
        changed(version="3.10.0"),
        changed(version="3.18"),
        changed(version="3.18.0rc1"),
        changed(version="4.0.0"),
        changed(port=1024),
        changed(port=65535),
        changed(listen="0.0.0.0"),
        changed(listen="::"),
        changed(workers=1),
        changed(workers=64),
        changed(allowed_hosts=("mlflow.example.com", "10.0.0.1", "2001:db8::1", "db_1")),
        changed(index_url="https://mirror.example.com:8443/simple/"),
        changed(index_url="http://[2001:db8::1]/simple"),
        changed(artifacts=Artifacts(destination="/srv/artifacts")),
        changed(artifacts=Artifacts(destination="/opt/mlflow/prod/data/artifacts")),
        changed(artifacts=S3),
        changed(artifacts=replace(S3, destination="s3://my.bucket-1")),
        changed(artifacts=replace(S3, destination="s3://bucket/a/b=c/d+e@f")),
        changed(artifacts=replace(S3, region="")),
        changed(artifacts=replace(S3, region="us-gov-west-1")),
        changed(artifacts=replace(S3, region="eusc-de-east-1")),
        changed(
            artifacts=replace(S3, region="auto", endpoint_url="https://x.r2.cloudflarestorage.com", credentials="keys")
        ),
        changed(artifacts=replace(S3, credentials="profile", profile="basketworld")),
        changed(admin_username="jane.doe@example.com"),
        changed(admin_username="x" * 64),
        changed(default_permission="NO_PERMISSIONS"),
    ],
)
def test_can_be_built(deployment: Deployment) -> None:
    assert validate(deployment) == []
    check(deployment, "prod.toml")


@pytest.mark.parametrize(
    ("values", "key", "told"),
    [
        ({"name": ""}, "name", "is empty"),
        ({"name": "Prod"}, "name", "small letters"),
        ({"name": "7prod"}, "name", "a letter first"),
        ({"name": "prod-"}, "name", "no '-' at the end"),
        ({"name": "x" * 26}, "name", "1 to 25"),
        ({"name": "releases"}, "name", "a folder we keep"),
        ({"name": "bin"}, "name", "a folder we keep"),
        ({"name": "python"}, "name", "a folder we keep"),
        ({"host": ""}, "host", "is incomplete"),
        ({"host": "ubuntu@"}, "host", "is incomplete"),
        ({"host": "@example.com"}, "host", "is incomplete"),
        ({"host": "-oProxyCommand=reboot"}, "host", "special character"),
        ({"host": "-v"}, "host", "starts with '-'"),
        ({"host": "root@-v"}, "host", "starts with '-'"),
        ({"scope": "usr"}, "scope", "did you mean user?"),
        ({"scope": "user"}, "scope", 'use host = "local"'),
        ({"identity_file": "id_ed25519"}, "identity_file", "start it with / or ~/"),
        ({"identity_file": "/a\nb"}, "identity_file", "not the path of a file"),
        ({"root": "mlflow"}, "root", "not an absolute path"),
        ({"root": "~/mlflow"}, "root", "home folder"),
        ({"root": "/"}, "root", "belongs to the system"),
        ({"root": "/opt/"}, "root", "belongs to the system"),
        ({"root": "/usr/local"}, "root", "such as /usr/local/mlflow"),
        ({"root": "/opt/../etc"}, "root", "'..'"),
        ({"root": "/opt//mlflow"}, "root", "cannot be used"),
        ({"root": "/home/jane/mlflow"}, "root", "hidden from the service"),
        ({"root": "/tmp/mlflow"}, "root", "hidden from the service"),
        ({"root": "/opt/" + "x" * 300}, "root", "at most 200"),
        ({"version": "latest"}, "mlflow.version", "change by itself"),
        ({"version": "3"}, "mlflow.version", "write it like 3.17.2"),
        ({"version": "v3.17.2"}, "mlflow.version", "not a version"),
        ({"version": "3.17.2; reboot"}, "mlflow.version", "not a version"),
        ({"version": "3.17.2\n"}, "mlflow.version", "not a version"),
        ({"version": "³.1.2"}, "mlflow.version", "not a version"),
        ({"port": 0}, "mlflow.port", "from 1 to 65535"),
        ({"port": -1}, "mlflow.port", "not a port"),
        ({"port": 70000}, "mlflow.port", "70000 is not a port"),
        ({"port": 10**6000}, "mlflow.port", "a huge number is not a port"),
        ({"listen": "localhost"}, "mlflow.listen", "127.0.0.1"),
        ({"listen": "256.1.1.1"}, "mlflow.listen", "not an IP address"),
        ({"listen": "fe80::1%eth0"}, "mlflow.listen", "not an IP address"),
        ({"workers": 0}, "mlflow.workers", "1 to 64"),
        ({"workers": 65}, "mlflow.workers", "leave it out"),
        (
            {"allowed_hosts": ("ok.example.com", "https://a.example.com/x")},
            "mlflow.allowed_hosts[1]",
            "alone, a.example.com",
        ),
        ({"allowed_hosts": ("a.example.com:5000",)}, "mlflow.allowed_hosts[0]", "has a port"),
        ({"allowed_hosts": ("[::1]",)}, "mlflow.allowed_hosts[0]", "without them"),
        ({"allowed_hosts": ("*",)}, "mlflow.allowed_hosts[0]", "every name"),
        ({"allowed_hosts": ("münchen.example",)}, "mlflow.allowed_hosts[0]", "xn--"),
        ({"allowed_hosts": ("",)}, "mlflow.allowed_hosts[0]", "neither"),
        ({"allowed_hosts": ("a.-b.c",)}, "mlflow.allowed_hosts[0]", "neither"),
        ({"index_url": "mirror.example.com"}, "mlflow.index_url", "starts with https://"),
        ({"index_url": "file:///etc/passwd"}, "mlflow.index_url", "starts with https://"),
        ({"index_url": "https://"}, "mlflow.index_url", "starts with https://"),
        ({"index_url": "https://a:port/"}, "mlflow.index_url", "is not a URL"),
        ({"index_url": "https://a/x?token=1"}, "mlflow.index_url", "'?'"),
        ({"index_url": "https://a/$(reboot)"}, "mlflow.index_url", "special characters"),
        ({"destination": "bucket/prefix"}, "artifacts.destination", "or s3://bucket/prefix"),
        ({"destination": "~/artifacts"}, "artifacts.destination", "absolute path"),
        ({"destination": "/"}, "artifacts.destination", "belongs to the system"),
        ({"destination": "/home/jane/art"}, "artifacts.destination", "hidden from the service"),
        ({"destination": "/opt/mlflow/releases"}, "artifacts.destination", "where the server itself is"),
        ({"destination": "/srv/x", "root": "/srv/x/y"}, "artifacts.destination", "contains /srv/x/y"),
        ({"destination": "gs://b/p"}, "artifacts.destination", "Google Cloud Storage comes later"),
        (
            {"destination": "wasbs://c@a.blob.core.windows.net/p"},
            "artifacts.destination",
            "Azure Blob Storage comes later",
        ),
        ({"destination": "S3://bucket"}, "artifacts.destination", "no such store"),
        ({"destination": "ftp://x/y"}, "artifacts.destination", "no such store"),
        ({"destination": "file:///data"}, "artifacts.destination", "without file://"),
        ({"destination": "https://minio/b"}, "artifacts.destination", "artifacts.endpoint_url"),
        ({"region": "us-west-1"}, "artifacts.region", "no use with a folder"),
        ({"profile": "p"}, "artifacts.profile", "no use with a folder"),
        ({"endpoint_url": "https://minio"}, "artifacts.endpoint_url", "no use with a folder"),
        ({"credentials": "keys"}, "artifacts.credentials", "no use with a folder"),
        ({"admin_username": "a:b"}, "auth.admin_username", "':'"),
        ({"admin_username": ""}, "auth.admin_username", "1 to 64"),
        ({"admin_username": "x" * 65}, "auth.admin_username", "1 to 64"),
        ({"default_permission": "read"}, "auth.default_permission", "did you mean READ?"),
        ({"default_permission": "MANGAE"}, "auth.default_permission", "did you mean MANAGE?"),
        ({"default_permission": "no-permission"}, "auth.default_permission", "did you mean NO_PERMISSIONS?"),
        ({"default_permission": "xyz"}, "auth.default_permission", "use READ, USE, EDIT, MANAGE or NO_PERMISSIONS"),
    ],
)
def test_is_refused(values: dict[str, Any], key: str, told: str) -> None:
    problem = only_problem(changed(**values))
    assert problem.startswith(f"{key}: ")
    assert told in problem


@pytest.mark.parametrize(
    ("values", "key", "told"),
    [
        ({"destination": "s3://"}, "destination", "not the name of a bucket"),
        ({"destination": "s3://Bucket"}, "destination", "small letters"),
        ({"destination": "s3://ab"}, "destination", "3 to 63"),
        ({"destination": "s3://" + "a" * 64}, "destination", "3 to 63"),
        ({"destination": "s3://a..b"}, "destination", "not the name of a bucket"),
        ({"destination": "s3://192.168.1.1/x"}, "destination", "not the name of a bucket"),
        ({"destination": "s3://a_b"}, "destination", "not the name of a bucket"),
        ({"destination": "s3://bucket-/x"}, "destination", "not the name of a bucket"),
        ({"destination": "s3://bucket//x"}, "destination", "one '/'"),
        ({"destination": "s3://bucket/x//"}, "destination", "one '/'"),
        ({"destination": "s3://bucket/../x"}, "destination", "'..'"),
        ({"destination": "s3://bucket/" + "x" * 600}, "destination", "at most 512"),
        ({"region": "california"}, "region", "like us-west-1"),
        ({"region": "us-west-1a"}, "region", "its region is us-west-1"),
        ({"region": "a b", "endpoint_url": "https://minio"}, "region", "not a region"),
        ({"endpoint_url": "minio:9000"}, "endpoint_url", "starts with https://"),
        ({"credentials": ""}, "credentials", "instance-role, profile or keys"),
        ({"credentials": "instance_role"}, "credentials", "did you mean instance-role?"),
        ({"credentials": "profile"}, "profile", "missing"),
        ({"credentials": "profile", "profile": "a\n[default]"}, "profile", "not a profile"),
        ({"credentials": "keys", "profile": "p"}, "profile", "remove one of the two"),
        ({"profile": "p"}, "profile", "remove one of the two"),
    ],
)
def test_a_bucket_is_refused(values: dict[str, Any], key: str, told: str) -> None:
    problem = only_problem(changed(replace(GOOD, artifacts=S3), **values))
    assert problem.startswith(f"artifacts.{key}: ")
    assert told in problem


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("key", sorted(set(DOTTED) - {"port", "workers"}))
def test_nasty_text_is_refused_everywhere(key: str, nasty: str) -> None:
    """Nothing that a shell, a unit, an ini file or a terminal could take for an order gets to the host."""
    base = GOOD if key not in ("region", "endpoint_url", "credentials", "profile") else replace(GOOD, artifacts=S3)
    if key == "profile":
        base = changed(base, credentials="profile")
    if key == "allowed_hosts":
        problem = only_problem(changed(base, allowed_hosts=(nasty,)))
    elif (key, nasty) == ("profile", "../../etc/passwd"):
        assert validate(changed(base, profile=nasty)) == []  # a strange name, but only a name
        return
    else:
        problem = only_problem(changed(base, **{key: nasty}))
    assert problem.startswith(DOTTED[key])


@pytest.mark.parametrize("nasty", [text for text in NASTY if text != "../../etc/passwd"])
def test_nasty_text_is_refused_inside_paths_and_buckets(nasty: str) -> None:
    assert only_problem(changed(root=f"/opt/{nasty}")).startswith("root: ")
    assert only_problem(changed(destination=f"/srv/{nasty}")).startswith("artifacts.destination: ")
    assert only_problem(changed(replace(GOOD, artifacts=S3), destination=f"s3://bucket/{nasty}/x")).startswith(
        "artifacts."
    )
    assert only_problem(changed(index_url=f"https://example.com/{nasty}")).startswith("mlflow.index_url: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("index_url", "https://jane:CANARY@mirror.example.com/simple"),
        ("index_url", "https://CANARY@mirror.example.com/simple"),
        ("index_url", "https://jane:CAN/ARY@mirror.example.com/simple"),
        ("index_url", "ftp://jane:CANARY@mirror.example.com/simple"),
        ("index_url", "https://mirror.example.com/simple?key=CANARY"),
        ("host", "ubuntu:CANARY@example.com"),
        ("host", "ssh://ubuntu:CANARY@example.com"),
        ("host", "ubuntu:CAN@ARY@example.com"),
        ("allowed_hosts", ("https://jane:CANARY@a.example.com",)),
        ("destination", "https://jane:CANARY@minio/b"),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(key: str, value: Any) -> None:
    problem = only_problem(changed(**{key: value}))
    assert "CAN" not in problem
    assert "ARY" not in problem


@pytest.mark.parametrize("scope", ["user", "system"])
def test_low_ports_need_root(scope: str) -> None:
    assert "use a number from 1024" in only_problem(changed(host="local", scope=scope, port=80))


def test_one_spelling_for_one_destination() -> None:
    assert Artifacts(destination="s3://bucket/prefix/") == Artifacts(destination="s3://bucket/prefix")
    assert Artifacts(destination="s3://bucket/").destination == "s3://bucket"
    assert Artifacts(destination="/srv/artifacts/").destination == "/srv/artifacts"
    assert Artifacts(destination="").destination == ""


def test_every_problem_is_told_at_once() -> None:
    deployment = changed(name="Bad Name", host="a b", port=0, destination="gs://x", admin_username="a:b")
    assert [problem.partition(":")[0] for problem in validate(deployment)] == [
        "name",
        "host",
        "mlflow.port",
        "artifacts.destination",
        "auth.admin_username",
    ]
    with pytest.raises(ProvisionError) as refusal:
        check(deployment, "prod.toml")
    assert refusal.value.message.startswith("prod.toml has 5 problems:\n  name: ")
    assert refusal.value.hint == "correct prod.toml and run the command again"
    assert refusal.value.code == ExitCode.USAGE


def test_a_single_problem_takes_a_single_line() -> None:
    with pytest.raises(
        ProvisionError, match=r"^prod\.toml: mlflow\.port: 70000 is not a port: use a number from 1 to 65535$"
    ):
        check(changed(port=70000), "prod.toml")
