"""What was deleted goes for good: thousands of objects in a bucket, on a host that is killed, under people who work."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlflow_provision.aws.policy import policy
from tests.e2e.backed_up import Far, artifact
from tests.e2e.buckets import keys_in_environment
from tests.e2e.operator import Operator, on
from tests.e2e.person import at_terminal
from tests.e2e.prepared import Prepared
from tests.e2e.real_client import RealClient, at_server
from tests.e2e.served import NAME, Served
from tests.e2e.waiting import AGENT, until
from tests.lab import LabHost, MotoS3
from tests.lab.s3 import LIKE_AWS

BUCKET = "team"
PREFIX = "ml"
STORED = f"s3://{BUCKET}/{PREFIX}"
IN_BUCKET = "bucket"  # the deployment whose artifacts are in it; those of `prod` are in its folder
ALL = ("--older-than", "0d")
PAGE = 1000  # what S3 lists and deletes at once
DATA = f"/opt/mlflow/{NAME}/data/artifacts"
UNIT = f"mlflow-{NAME}-gc"
LARGE = PAGE + 20
SMALL, SMALL_FILES, MORE = 10, 5, 95  # runs; files of each that come through the server, and in other ways

# An experiment with a run of more than a page of objects, ten smaller ones, one that is active, one that a registered
# model is made of; and an experiment that is deleted with all that is in it.
FILL = """
from mlflow.tracing.attachments import Attachment
made["churn"] = client.create_experiment("churn")
made["old"] = client.create_experiment("old ideas")

def files(count):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "sub-dir").mkdir()
    for number in range(count):
        (folder / "sub-dir" / f"{number}.txt").write_text("x" * (number % 50))
    return str(folder)

large, small, few = files(given["large"]), files(given["small_files"]), files(3)

def run(name, folder, experiment=made["churn"]):
    run = client.create_run(experiment, run_name=name).info.run_id
    client.log_metric(run, "loss", 0.5)
    client.log_artifacts(run, folder, "many")
    client.set_terminated(run)
    return run

with ThreadPoolExecutor(4) as pool:
    smalls = [pool.submit(run, f"small {number}", small) for number in range(given["small"])]
    others = {name: pool.submit(run, name, few) for name in ("active", "released")}
    made["large"] = run("large", large)
    made["small"] = [one.result() for one in smalls]
    made |= {name: one.result() for name, one in others.items()}
client.create_registered_model("churn")
client.create_model_version("churn", client.get_run(made["released"]).info.artifact_uri + "/many", made["released"])
made["in_old"] = run("idea", few, made["old"])
for name in ("large", "released"):
    client.delete_run(made[name])
for one in made["small"]:
    client.delete_run(one)
mlflow.set_experiment(experiment_id=made["old"])
model = mlflow.initialize_logged_model(name="tree")
made["model"] = model.model_id
client.log_model_artifacts(model.model_id, few)
# With an attachment, for what else a trace stores in the bucket depends on which of two threads of MLflow is first.
seen = Attachment(content_type="text/plain", content_bytes=b"seen")
mlflow.trace(lambda: seen)()
mlflow.flush_trace_async_logging()
client.delete_experiment(made["old"])
"""

# A run with two artifacts.
ONE_RUN = """
made["run"] = client.create_run("0").info.run_id
for name in ("a.txt", "folder/b.txt"):
    client.log_text(made["run"], "text", name)
"""

MANAGED_BY_ADA = """
import requests
who = (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
def post(path, **data):
    requests.post(os.environ["MLFLOW_TRACKING_URI"] + path, json=data, auth=who).raise_for_status()
made["experiment"] = client.create_experiment("of ada")
post("/api/2.0/mlflow/users/create", username="ada", password=given["password"])
manage = dict(username="ada", resource_type="experiment", resource_id=made["experiment"], permission="MANAGE")
post("/api/3.0/mlflow/users/permissions/grant", **manage)
"""

DELETE = """
made["said"] = ""
try:
    client.delete_experiment(given["experiment"])
except mlflow.MlflowException as error:
    made["said"] = str(error)
"""

# All that a client can see and read of the runs that are not deleted.
READ = """
for run in client.search_runs([given["experiment"]], run_view_type=1):
    folder = pathlib.Path(client.download_artifacts(run.info.run_id, ""))
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    made[run.info.run_id] = [run.info.run_name, run.data.metrics, texts]
"""


@dataclass
class Busy:
    """A server with its artifacts in a bucket, where much was deleted."""

    served: Served
    s3: MotoS3
    far: Far  # between the host and the bucket
    client: RealClient
    made: dict[str, Any] = field(default_factory=dict)

    @property
    def operator(self) -> Operator:
        return self.served.operator

    def sizes(self, *folders: str) -> dict[str, int]:
        """The objects below some folders of the store, with their sizes, as boto3 sees them."""
        found: dict[str, int] = {}
        for folder in folders or ("",):
            pages = self.s3.client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/{folder}"):
                found |= {one["Key"].removeprefix(f"{PREFIX}/"): one["Size"] for one in page.get("Contents", [])}
        return found

    def put_more(self) -> None:
        """More artifacts of the smaller runs, as fast as the store takes them."""
        client = self.s3.client()
        for run in self.made["small"]:
            for number in range(MORE):
                key = f"{PREFIX}/{self.made['churn']}/{run}/artifacts/more/{number}.bin"
                client.put_object(Bucket=BUCKET, Key=key, Body=b"x" * number)

    def of(self, *runs: str) -> dict[str, int]:
        return self.sizes(*(f"{self.made['churn']}/{run}/" for run in runs))

    def has(self, key: str) -> bool:
        found = self.s3.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}/{key}", MaxKeys=1)
        return bool(found["KeyCount"])

    def gc(self, *options: str) -> dict[str, Any]:
        found: dict[str, Any] = self.operator.json("gc", IN_BUCKET, *ALL, *options)["gc"]
        return found

    def may(self, **less: Any) -> None:
        """Give the server's user its rights anew."""
        allowed = policy(STORED)
        for statement in allowed["Statement"]:
            statement["Action"] = [one for one in statement["Action"] if one != less.get("without")]
        document = json.dumps(allowed)
        self.s3.client("iam").put_user_policy(UserName="server", PolicyName="lab", PolicyDocument=document)

    def healthy(self) -> None:
        assert self.operator.json("status", IN_BUCKET)["status"]["healthy"] is True

    def active(self) -> dict[str, Any]:
        """What the real client reads of the runs that are not deleted."""
        found: dict[str, Any] = self.client.run(READ, experiment=self.made["churn"])
        return found


@pytest.fixture(scope="module")
def host(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        yield served


@pytest.fixture(scope="module")
def busy(host: Served) -> Iterator[Busy]:
    with MotoS3(enforce_iam=True, program=LIKE_AWS) as s3, Far(("127.0.0.1", 0)) as far:
        where_it_is = urlsplit(s3.endpoint)
        far.target = (str(where_it_is.hostname), int(where_it_is.port or 0))
        s3.create_bucket(BUCKET)
        keys_in_environment(host.operator, s3.create_user("server", policy(STORED)))
        where = ("--artifacts", STORED, "--endpoint-url", far.endpoint, "--aws-keys")
        host.operator.run("setup", on(host.host), "--yes", "--name", IN_BUCKET, "--port", "5100", *where)
        found = Busy(host, s3, far, at_server(host.operator, host.host, IN_BUCKET))
        found.made = found.client.run(FILL, timeout=600, large=LARGE, small=SMALL, small_files=SMALL_FILES)
        found.put_more()
        yield found


def test_what_is_shown_is_what_is_there(busy: Busy) -> None:
    """Counted in the store itself, with nothing removed; what is younger, or needed, is not in it."""
    before, made = busy.sizes(), busy.made
    report = busy.gc("--dry-run")
    churn, old = report["experiments"]
    going = busy.of(made["large"], *made["small"])
    assert len(going) == LARGE + SMALL * (SMALL_FILES + MORE) > 2 * PAGE
    assert (churn["whole"], churn["runs"], churn["files"]) == (False, 1 + SMALL, len(going))
    assert churn["bytes"] == sum(going.values())
    idea = busy.sizes(f"{made['old']}/")
    assert any(f"/models/{made['model']}/" in key for key in idea) and any("/traces/" in key for key in idea)
    assert (old["whole"], old["runs"], old["models"], old["traces"]) == (True, 1, 1, 1)
    assert (old["files"], old["bytes"]) == (len(idea), sum(idea.values()))
    assert [kept["id"] for kept in report["kept"]] == [made["released"]]
    assert report["totals"]["files"] == len(going) + len(idea)
    young = busy.operator.json("gc", IN_BUCKET, "--dry-run")["gc"]
    assert (young["experiments"], young["young"]) == ([], 1 + SMALL + 3)
    assert busy.sizes() == before


def test_without_the_permission_nothing_is_lost(busy: Busy) -> None:
    """AWS says no to each object of a request that it accepts."""
    before = busy.sizes()
    busy.may(without="s3:DeleteObject")
    said = busy.operator.refused("gc", IN_BUCKET, *ALL, "--yes")
    assert "s3:DeleteObject" in said
    assert busy.sizes() == before
    assert busy.gc("--dry-run")["totals"]["runs"] == 2 + SMALL  # all rows are still there
    busy.healthy()
    busy.may()


def test_killed_half_way_nothing_else_is_touched(busy: Busy) -> None:
    """kill -9 for the agent when the first objects have gone."""
    made = busy.made
    everything = busy.sizes()
    going = {*busy.of(made["large"], *made["small"]), *busy.sizes(f"{made['old']}/")}
    first = next(iter(busy.of(made["large"])))
    busy.far.delay = 0.5  # seconds: the second request to delete comes well after the first
    gc = busy.operator.start("gc", IN_BUCKET, *ALL, "--yes")
    until(lambda: not busy.has(first), process=gc)
    busy.served.host.run(["pkill", "-9", "-f", AGENT])
    busy.far.delay = 0.0
    out, err = gc.communicate(timeout=60)
    assert gc.returncode not in (0, None), out + err
    assert "Traceback" not in out + err
    left = busy.sizes()
    assert set(everything) - set(left) < going  # some have gone, not all, and nothing else
    busy.healthy()
    # A row never goes before the last of its objects.
    report = busy.gc("--dry-run")
    assert report["totals"]["files"] == len(going & set(left))


def test_what_is_restored_before_the_answer_stays(busy: Busy) -> None:
    """The rest goes, by the same command; a run that somebody restores while the list is read does not."""
    made = busy.made
    restored = next(run for run in reversed(made["small"]) if len(busy.of(run)) == SMALL_FILES + MORE)
    before = busy.of(restored)
    with at_terminal(busy.operator, "gc", IN_BUCKET, *ALL) as terminal:
        terminal.waits_for(r"for good\?", 120)
        busy.client.run("client.restore_run(given['run'])", run=restored)
        terminal.types("y").press("enter")
        assert terminal.ended(240) == 0
    assert busy.of(restored) == before
    kept = {f"{made['churn']}/{run}/" for run in (made["active"], made["released"], restored)}
    assert {"/".join(key.split("/")[:2]) + "/" for key in busy.sizes()} == kept
    busy.healthy()
    seen = busy.active()
    assert {run: name for run, (name, *_) in seen.items()} == {
        made["active"]: "active",
        restored: f"small {made['small'].index(restored)}",
    }
    assert [len(seen[run][2]) for run in (made["active"], restored)] == [3, SMALL_FILES + MORE]
    assert seen[made["active"]][2]["many/sub-dir/2.txt"] == "xx"
    report = busy.gc("--dry-run")
    assert (report["experiments"], [one["id"] for one in report["kept"]]) == ([], [made["released"]])
    version = "made['source'] = client.get_model_version('churn', '1').source"
    source = busy.client.run(version)["source"]
    assert source.endswith(f"{made['released']}/artifacts/many")


def test_what_belongs_to_nothing_goes_if_it_is_old(host: Served) -> None:
    """Only what is called as MLflow calls it, and what no row knows. Here in a folder, whose times can be set."""
    client = at_server(host.operator, host.host, NAME)
    client.run(ONE_RUN)
    known = artifacts(host)
    run, trace, young = (uuid.uuid4().hex for _ in range(3))
    orphans = {f"0/{run}/artifacts/a b.txt", f"0/{run}/artifacts/b", f"0/traces/tr-{trace}/artifacts/spans"}
    others = {f"{run}/a", "0/models/backup/a", f"notes/{run}/a", f"0/{young}/artifacts/a"}
    for path in orphans | others:
        artifact(host.host, path, b"12345")
        if young not in path:
            two_days_ago = time.time() - 2 * 86400
            os.utime(host.host.path(f"{DATA}/{path}"), (two_days_ago, two_days_ago))
    seen = host.operator.json("gc", NAME, *ALL, "--orphans", "--dry-run")["gc"]["orphans"]
    assert (seen["folders"], seen["files"], seen["bytes"], seen["young"]) == (2, 3, 15, 1)
    assert artifacts(host) == known | orphans | others
    assert host.operator.json("gc", NAME, *ALL, "--orphans", "--yes")["gc"]["removed"]["orphans"] == 2
    assert artifacts(host) == known | others


def test_the_rights_on_an_experiment_go_with_it(host: Served) -> None:
    """SQLite gives its number to the next one, which is somebody else's."""
    client = at_server(host.operator, host.host, NAME)
    ada = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "the-password-of-ada"}
    old = client.run(MANAGED_BY_ADA, password=ada["MLFLOW_TRACKING_PASSWORD"])["experiment"]
    assert RealClient(host.host, client.python, client.environment | ada).run(DELETE, experiment=old)["said"] == ""
    host.operator.run("gc", NAME, *ALL, "--yes")
    new = client.run("made['experiment'] = client.create_experiment('secret plans')")["experiment"]
    assert new == old
    said = RealClient(host.host, client.python, client.environment | ada).run(DELETE, experiment=new)["said"]
    assert "403" in said or "Permission denied" in said
    assert client.run("made['stage'] = client.get_experiment(given['e']).lifecycle_stage", e=new)["stage"] == "active"


def test_by_itself(host: Served) -> None:
    """Started by its timer, as the server's user; steps aside for whoever changes the host; goes when it is off."""
    client = at_server(host.operator, host.host, NAME)
    gone, stays = (client.run(ONE_RUN)["run"] for _ in range(2))
    client.run("client.delete_run(given['run'])", run=gone)
    toml = host.operator.toml(NAME)
    without = toml.read_text()
    toml.write_text(without + '\n[gc]\nschedule = "weekly"\nolder_than = "1s"\n')
    assert {"gc-job", "gc-unit", "gc-timer-unit", "gc-timer"} <= set(host.operator.changed("setup", NAME, "--yes"))
    shown = host.host.run(["systemctl", "show", f"{UNIT}.timer", "-p", "UnitFileState,ActiveState"]).stdout
    assert sorted(shown.split()) == ["ActiveState=active", "UnitFileState=enabled"]

    with setting_up(host.host):
        assert "skipped: ada is running `setup` on this host" in started(host.host)
    assert any(gone in path for path in artifacts(host))
    said = started(host.host)
    assert "1 run" in said and "2 files" in said
    assert not [path for path in artifacts(host) if gone in path]
    assert len([path for path in artifacts(host) if stays in path]) == 2
    looked = "made['there'] = [r.info.run_id for r in client.search_runs(['0'], run_view_type=3)]"
    there = client.run(looked)["there"]
    assert stays in there and gone not in there
    user = host.host.run(["id", "-u", f"mlflow-{NAME}"]).stdout.strip()
    run = host.host.run(["systemctl", "show", UNIT, "-p", "InvocationID", "--value"]).stdout.strip()
    lines = host.host.run(["journalctl", "-o", "json", f"_SYSTEMD_INVOCATION_ID={run}"]).stdout.splitlines()
    assert {(json.loads(line)["_UID"], json.loads(line)["_CAP_EFFECTIVE"]) for line in lines} == {(user, "0")}

    toml.write_text(without)
    host.operator.run("setup", NAME, "--yes")
    places = ["/etc", "/var/lib", f"/opt/mlflow/{NAME}/etc"]
    left = host.host.run(["find", *places, "-name", f"*{UNIT}*", "-o", "-name", "gc.json"]).stdout
    assert left == ""
    assert UNIT not in host.host.run(["systemctl", "list-units", "--all", "--no-legend"]).stdout


def test_in_a_place_of_two_nothing_is_an_orphan(busy: Busy) -> None:
    """What neither knows may be the other's."""
    where = ("--artifacts", f"{STORED}/inside", "--endpoint-url", busy.far.endpoint, "--aws-keys", "--artifacts-moved")
    busy.operator.run("setup", NAME, "--yes", *where)
    before = busy.sizes()
    for name in (IN_BUCKET, NAME):
        said = busy.operator.refused("gc", name, *ALL, "--orphans", "--yes")
        assert (NAME if name == IN_BUCKET else IN_BUCKET) in said
    assert busy.sizes() == before
    busy.gc("--dry-run")


def artifacts(served: Served) -> set[str]:
    """What is in the folder of `prod`."""
    folder = served.host.path(DATA)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def started(host: LabHost) -> str:
    """What stands in the journal of one run that systemd starts, which ends well."""
    host.run(["systemctl", "start", UNIT])
    run = host.run(["systemctl", "show", UNIT, "-p", "InvocationID", "--value"]).stdout.strip()
    host.run(["journalctl", "--sync"])
    return host.run(["journalctl", "--no-pager", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={run}"]).stdout


@contextmanager
def setting_up(host: LabHost) -> Iterator[None]:
    """Within the block somebody changes the host."""
    lock = json.loads(host.path(f"/opt/mlflow/{NAME}/etc/gc.json").read_text())["settings"]["host_lock"]
    held = "import sys, time; sys.path.insert(0, sys.argv[1]); from mlflow_provision.agent.lock import held\n"
    held += "with held(sys.argv[2], 'ada', 'setup'): time.sleep(60)"
    program = ["python3", "-c", held, f"/opt/mlflow/{NAME}/agent.zip", lock]
    host.run(["systemd-run", "--quiet", "--unit=ada", *program])
    try:
        host.run(["sh", "-c", f"until grep -q ada {lock}; do sleep 0.05; done"], timeout=20)
        yield
    finally:
        host.run(["systemctl", "stop", "ada"])
