"""What old servers left in buckets and homes comes under the proxy, read by MLflow's own client before and after."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.buckets import keys_in_environment, keys_in_profile
from tests.e2e.old_server import TREE, OldServer, install_packages
from tests.e2e.operator import Operator, on
from tests.e2e.prepared import Prepared
from tests.e2e.real_client import RealClient, at_server
from tests.e2e.served import NAME
from tests.e2e.waiting import AGENT, until
from tests.lab import LabHost, RcloneS3, Snapshot

TEAM = "team"  # the deployment that an old server becomes
OLD_PORT = 5050
LEGACY = "s3://legacy/mlruns"
OWNER = "askpass"  # somebody whose home is closed
HOME = f"/home/{OWNER}/mlruns"
MANY, RUNS, FILES = 1020, 4, 10  # more files of a large run; small runs; files of each

FILL = """
made["experiment"] = client.create_experiment("größe & co")
def run(name, files):
    run = client.create_run(made["experiment"], run_name=name).info.run_id
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "sub-dir").mkdir()
    for number in range(files):
        (folder / "sub-dir" / f"{number}.txt").write_text(f"{name} {number}")
    (folder / "model.bin").write_bytes(bytes(range(256)) * 64)
    client.log_artifacts(run, str(folder))
    client.set_terminated(run)
    return run
with ThreadPoolExecutor(4) as pool:
    large = pool.submit(run, "large", given["files"])
    small = [pool.submit(run, f"run {number}", given["files"]) for number in range(given["runs"])]
    made["runs"] = [one.result() for one in small]
    made["large"] = large.result()
client.create_registered_model("churn")
source = client.get_run(made["large"]).info.artifact_uri
client.create_model_version("churn", source, made["large"])
made["uri"] = source
"""
# More than a page of objects, by a client that still writes to the bucket itself.
MORE = """
folder = pathlib.Path(tempfile.mkdtemp())
for number in range(given["many"]):
    (folder / f"{number}.txt").write_text(str(number))
client.log_artifacts(given["run"], str(folder), "more")
"""
AT_HOME = """
made["home"] = client.create_experiment("at home", artifact_location=given["place"])
made["in_home"] = client.create_run(made["home"]).info.run_id
client.log_text(made["in_home"], "mine", "notes/a file.txt")
client.log_text(made["in_home"], "yours", "b.txt")
"""
# The sum of every artifact that can be read, by run; of the registered model, too.
READ = """
import hashlib
import os
def sums(folder):
    folder = pathlib.Path(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
for run in given["runs"]:
    with tempfile.TemporaryDirectory() as folder:
        made[run] = sums(client.download_artifacts(run, "", folder))
if given.get("model"):
    with tempfile.TemporaryDirectory() as folder:
        made["model"] = sums(mlflow.artifacts.download_artifacts("models:/churn/1", dst_path=folder))
"""
# A new run in an experiment that is there already.
GO_ON = """
made["run"] = client.create_run(given["experiment"]).info.run_id
client.log_text(made["run"], "new", "new.txt")
made["uri"] = client.get_run(made["run"]).info.artifact_uri
"""
# Artifacts without a pause, some written twice, until somebody says stop. What is not acknowledged is tried again.
WRITE = """
import hashlib
import os
run = client.create_run("0").info.run_id
sums, number = {}, 0
while not os.path.exists(given["stop"]):
    name = f"folder {number % 40 // 10}/{number % 40}.txt"
    text = f"{number} " * 200
    written = False
    while not written:
        try:
            client.log_text(run, text, name)
            written = True
        except Exception:
            time.sleep(0.1)
    sums[name] = hashlib.sha256(text.encode()).hexdigest()
    number += 1
    if number == 10:
        pathlib.Path(given["begun"]).touch()
made[run] = sums
"""


@dataclass(frozen=True)
class Legacy:
    """The disk of a host with an old server of MLflow 2 that was adopted: its artifacts are where it left them."""

    snapshot: Snapshot
    deployments: Path
    name: str
    made: dict[str, Any]
    read: dict[str, Any]  # what its clients read before

    @contextmanager
    def copy(self, home: Path, s3: RcloneS3) -> Iterator[Moved]:
        home.mkdir()
        with LabHost(base=self.snapshot) as host:
            operator = Operator(home, host.ssh_config)
            shutil.copytree(self.deployments, operator.config)
            operator.edit(TEAM, self.name, host.name)
            keys_in_environment(operator, s3.keys)
            moved = Moved(host, operator, self)
            moved.booted()
            operator.run("setup", TEAM, "--yes")  # it answers to the names of its host, which has another one now
            yield moved


@dataclass
class Moved:
    """A host of one's own with that server, whose artifacts are to be moved."""

    host: LabHost
    operator: Operator
    legacy: Legacy

    @property
    def runs(self) -> list[str]:
        return [*self.legacy.made["runs"], self.legacy.made["large"]]

    def keeps(self, place: str) -> None:
        """From now on new artifacts go to a place; the old ones stay where they are."""
        self.operator.run("setup", TEAM, "--yes", "--artifacts", place, "--artifacts-moved")

    def read(self, *runs: str) -> dict[str, Any]:
        """What a client without any key reads."""
        client = at_server(self.operator, self.host, TEAM)
        found: dict[str, Any] = client.run(READ, runs=runs or self.runs, model=not runs)
        return found

    def goes_on(self) -> None:
        """A new run in the old experiment needs no key either."""
        client = at_server(self.operator, self.host, TEAM)
        made = client.run(GO_ON, experiment=self.legacy.made["experiment"])
        assert made["uri"] == f"mlflow-artifacts:/{self.legacy.made['experiment']}/{made['run']}/artifacts"
        assert self.read(made["run"]) == {made["run"]: {"new.txt": hashlib.sha256(b"new").hexdigest()}}

    def move(self, *options: str) -> dict[str, Any]:
        return self.operator.json("move-artifacts", TEAM, "--yes", *options)

    def booted(self) -> None:
        """Wait for the server, which its host has begun to start."""
        asked = f"until curl -fs http://127.0.0.1:{OLD_PORT}/health; do sleep 0.2; done"
        self.host.run(["sh", "-c", asked], timeout=120)

    def healthy(self) -> None:
        assert self.operator.json("status", TEAM)["status"]["healthy"] is True

    def places(self) -> set[str]:
        """Where the runs' artifacts are, as the server says."""
        program = "made['uris'] = [client.get_run(run).info.artifact_uri for run in given['runs']]"
        uris = at_server(self.operator, self.host, TEAM).run(program, runs=self.runs)["uris"]
        return {uri.partition(":")[0] for uri in uris}

    def journal(self) -> Path:
        """There as long as places are rewritten that nobody has proved."""
        return self.host.path(f"/opt/mlflow/{TEAM}/moves/journal.json")


@pytest.fixture(scope="module")
def legacy(set_up: Prepared, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Legacy]:
    rclone_s3.create_bucket("legacy")
    keys = f"[default]\naws_access_key_id = {rclone_s3.key}\naws_secret_access_key = {rclone_s3.secret}\n"
    old = OldServer(
        options=f"--default-artifact-root {LEGACY}",
        auth=False,
        port=OLD_PORT,
        environment=f"export MLFLOW_S3_ENDPOINT_URL={rclone_s3.endpoint}",
        aws={"credentials": keys, "config": "[default]\nregion = us-east-1\n"},
    )
    with LabHost(base=set_up.snapshot) as host:
        install_packages(host, "mlflow==2.22.1", "sqlalchemy<2.1", "boto3", imported="mlflow.server")
        old.install(host)
        made, before = worked(host, rclone_s3)
        operator = Operator(tmp_path_factory.mktemp("home") / "operator", host.ssh_config)
        operator.home.mkdir()
        adopted = operator.json("setup", on(host), "--adopt", "--yes", "--name", TEAM)
        assert adopted["old_server"]["version"] == "2.22.1" and adopted["adopted"]["runs"] == RUNS + 1
        admin = at_server(operator, host, TEAM)
        with_keys = replace(admin, environment=admin.environment | keys_of_clients(rclone_s3))
        with_keys.run(MORE, run=made["large"], many=MANY)
        read = with_keys.run(READ, runs=[*made["runs"], made["large"]], model=True)
        assert len(read[made["large"]]) > MANY
        assert all(set(before[run].items()) <= set(read[run].items()) for run in before)
        made |= at_home(admin)
        host.run(["rm", "-rf", TREE, "/home/operator/.aws"])
        snapshot, name = host.snapshot(), host.name
    yield Legacy(snapshot, operator.config, name, made, read)
    snapshot.remove()


def worked(host: LabHost, s3: RcloneS3) -> tuple[dict[str, Any], dict[str, Any]]:
    """What people made with the old server, and read there: with keys for the bucket, as it wants them."""
    login = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{OLD_PORT}"}
    client = RealClient(host, f"{TREE}/venv/bin/python", {**login, **keys_of_clients(s3)}, "operator")
    made = client.run(FILL, runs=RUNS, files=FILES)
    assert made["uri"].startswith(f"{LEGACY}/{made['experiment']}/")
    read = client.run(READ, runs=[*made["runs"], made["large"]], model=True)
    assert len(read[made["large"]]) == len(read["model"]) == FILES + 1
    return made, read


def keys_of_clients(s3: RcloneS3) -> dict[str, str]:
    """What everybody needs who reads a run of such a server."""
    keys = {"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret}
    return {"MLFLOW_S3_ENDPOINT_URL": s3.endpoint, "AWS_DEFAULT_REGION": "us-east-1", **keys}


def at_home(admin: RealClient) -> dict[str, Any]:
    """What somebody keeps in a folder that nobody else may open, in an experiment that says so."""
    made: dict[str, Any] = RealClient(admin.host, admin.python, admin.environment, OWNER).run(
        AT_HOME, place=f"{HOME}/7"
    )
    admin.host.run(["chmod", "-R", "go=", f"/home/{OWNER}"])
    return made


def test_what_lies_there_already_is_only_renamed(legacy: Legacy, rclone_s3: RcloneS3, tmp_path: Path) -> None:
    """The adopted server keeps its artifacts in the old bucket. No object is copied, changed or deleted."""
    with legacy.copy(tmp_path / "home", rclone_s3) as moved:
        before = objects(rclone_s3, "legacy")
        assert moved.places() == {"s3"}
        seen = moved.operator.json("move-artifacts", TEAM, "--dry-run")["found"]
        assert (seen["files"], seen["units"]["run"]["renamed"]) == (0, RUNS + 1)
        assert moved.places() == {"s3"}
        answer = moved.move()["moved"]
        assert answer["files"] == 0 and answer["rows"]["runs"] == RUNS + 1
        assert moved.read() == legacy.read
        assert objects(rclone_s3, "legacy") == before
        moved.goes_on()
        assert moved.operator.json("move-artifacts", TEAM, "--dry-run")["found"]["rows"] == {}


def test_into_a_folder_and_what_a_home_keeps_closed(legacy: Legacy, rclone_s3: RcloneS3, tmp_path: Path) -> None:
    """From the bucket of others with the keys of a profile; from a home only when root is told to."""
    with legacy.copy(tmp_path / "home", rclone_s3) as moved:
        folder = "/srv/mlflow-artifacts"
        moved.keeps(folder)
        keys_in_profile(moved.operator, "legacy", rclone_s3.keys)
        others = ("--from-profile", "legacy", "--from-endpoint-url", rclone_s3.endpoint)
        answer = moved.move(*others)["moved"]
        assert answer["files"] == sum(len(legacy.read[run]) for run in moved.runs)
        (left,) = answer["left"]
        assert left["count"] >= 2 and left["examples"][0].startswith(HOME)  # an experiment, and a run
        assert moved.read() == legacy.read
        closed = modes(moved.host, f"/home/{OWNER}")

        answer = moved.move("--as-root", HOME)["moved"]
        assert (answer["files"], answer["left"]) == (2, [])
        mine, yours = (hashlib.sha256(text).hexdigest() for text in (b"mine", b"yours"))
        in_home = legacy.made["in_home"]
        assert moved.read(in_home) == {in_home: {"notes/a file.txt": mine, "b.txt": yours}}
        owners = set(moved.host.run(["find", folder, "-printf", "%u:%g\n"]).stdout.split())
        assert owners == {f"mlflow-{TEAM}:mlflow-{TEAM}"}
        assert modes(moved.host, f"/home/{OWNER}") == closed
        moved.goes_on()


def test_from_the_old_bucket_whatever_comes_between(legacy: Legacy, rclone_s3: RcloneS3, tmp_path: Path) -> None:
    """Ctrl-C, kill -9, and a power cut while places are rewritten: each time a healthy server; then it is done."""
    rclone_s3.create_bucket("ours")
    with legacy.copy(tmp_path / "home", rclone_s3) as moved:
        moved.keeps("s3://ours/ml")
        seen = moved.operator.json("move-artifacts", TEAM, "--dry-run")["found"]
        files = sum(len(legacy.read[run]) for run in moved.runs)
        assert (seen["files"], seen["files_left"]) == (files, files)
        assert objects(rclone_s3, "ours") == {}

        def some(more: int) -> Callable[[], bool]:
            wanted = len(objects(rclone_s3, "ours")) + more
            return lambda: len(objects(rclone_s3, "ours")) >= wanted

        code, said = interrupted(moved, some(100), lambda gone: gone.send_signal(signal.SIGINT))
        assert code == 130, said
        moved.healthy()
        code, said = interrupted(moved, some(100), lambda _: killed(moved.host))
        assert code not in (0, 130), said
        moved.healthy()
        assert moved.places() == {"s3"}
        left = moved.operator.json("move-artifacts", TEAM, "--dry-run")["found"]["files_left"]
        assert 0 < left <= files - 200  # what was copied is not copied again

        interrupted(moved, moved.journal().exists, lambda _: moved.host.kill())
        moved.host.start()
        moved.booted()
        moved.healthy()
        answer = moved.move()["moved"]
        assert answer["rows"]["runs"] == RUNS + 1
        assert moved.read() == legacy.read
        moved.goes_on()

        # The originals go at last, and nothing but them.
        assert len(objects(rclone_s3, "legacy")) >= files
        deleted = moved.move("--delete-originals")["deleted"]
        assert (deleted["files"], deleted["why"]) == (files, {})
        runs = {key.split("/")[2] for key in objects(rclone_s3, "legacy")}
        assert runs & set(moved.runs) == set()
        assert moved.read() == legacy.read


def test_the_store_moves_under_somebody_who_writes(set_up: Prepared, rclone_s3: RcloneS3, tmp_path: Path) -> None:
    """To a bucket, and to a folder. What the server has acknowledged is there afterwards, with every byte."""
    rclone_s3.create_bucket("next")
    with set_up.copy(tmp_path / "home") as served:
        operator = served.operator
        client = at_server(operator, served.host, NAME)
        folder = "/srv/artifacts"  # another than before: there the originals are, of which some were written over
        keys_in_environment(operator, rclone_s3.keys)
        bucket = ("s3://next/ml", "--aws-keys", "--endpoint-url", rclone_s3.endpoint, "--region", "us-east-1")
        written: dict[str, dict[str, str]] = {}
        for to in (bucket, (folder,)):
            with writing(client) as wrote:
                answer = operator.json("move-artifacts", NAME, "--to", *to, "--yes")["moved"]
            written |= wrote
            assert answer["files"] > 0
            assert client.run(READ, runs=list(written)) == written
            assert operator.json("status", NAME)["status"]["healthy"] is True
            assert operator.json("setup", NAME, "--yes")["changes"] == 0  # the deployment file says the new place
        assert "destination = " in operator.toml(NAME).read_text()
        names = {key.split("/", 1)[1] for key in objects(rclone_s3, "next")}
        assert names and all(served.host.path(f"{folder}/{name}").exists() for name in names if "/artifacts/" in name)


@contextmanager
def writing(client: RealClient) -> Iterator[dict[str, dict[str, str]]]:
    """Within the block somebody logs artifacts without a pause. Afterwards: those of each run that were acknowledged,
    with their sums."""
    stop, begun = f"/tmp/stop-{uuid.uuid4().hex}", f"/tmp/begun-{uuid.uuid4().hex}"
    wrote: dict[str, dict[str, str]] = {}
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(client.run, WRITE, 900, stop=stop, begun=begun)
        try:
            client.host.run(["sh", "-c", f"until test -e {begun}; do sleep 0.05; done"], timeout=300)
            yield wrote
        finally:
            client.host.run(["touch", stop])
            wrote |= writer.result(300)


def modes(host: LabHost, folder: str) -> str:
    return host.run(["find", folder, "-printf", "%p %m %u %T@\n"]).stdout


def interrupted(
    moved: Moved, reached: Callable[[], bool], blow: Callable[[subprocess.Popen[str]], Any]
) -> tuple[int, str]:
    """Begin to move, and let a blow fall when something is reached. The exit code and what was said."""
    begun = moved.operator.start("move-artifacts", TEAM, "--yes")
    until(reached, process=begun, pause=0.005)
    blow(begun)
    out, err = begun.communicate(timeout=120)
    assert "Traceback" not in out + err
    return begun.returncode, out + err


def killed(host: LabHost) -> None:
    host.run(["pkill", "-9", "-f", AGENT])


def objects(s3: RcloneS3, bucket: str) -> dict[str, int]:
    """Every object with its size; what rclone is just receiving is none yet, and has another name soon."""
    found = {}
    for directory, _, names in os.walk(s3.folder / bucket):
        for path in (Path(directory, name) for name in names if not name.startswith(".rclone_temp")):
            with suppress(FileNotFoundError):
                found[str(path.relative_to(s3.folder / bucket))] = path.stat().st_size
    return found
