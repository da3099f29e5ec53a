"""The same in a bucket: pages, batches, odd names, refusals; against S3 servers that others wrote, and a bad one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.collection.places.bucket import BucketPlace
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import Bucket, Credentials, S3Error
from mlflow_provision.agent.s3.patience import once
from tests.agent.collecting_site import Site
from tests.lab.server import free_port, serving

BUCKET = "bucket"
ODD = ["ü/a b", "a+b", "a&b<c>", "%41", "a  b ", "quote'\"", "Σ/ǅ"]


def program(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None or shutil.which("setpriv") is None:
        pytest.skip(f"{name} is not installed here")
    return found


@pytest.fixture(scope="module", params=["rclone", "moto"])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    port = free_port("127.0.0.1")
    if request.param == "rclone":
        (folder / "store" / BUCKET).mkdir(parents=True)
        argv = [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder / "store")]
    else:
        argv = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    environment = {"RCLONE_AUTH_KEY": '"KEY,SECRET"', "RCLONE_CONFIG": str(folder / "none")}
    with serving(argv, address="127.0.0.1", port=port, log=folder / "log", environment=environment):
        url = f"http://127.0.0.1:{port}"
        if request.param == "moto":
            bucket(url).call("PUT", "")
        yield url


def bucket(endpoint: str) -> Bucket:
    return Bucket(BUCKET, "us-east-1", endpoint, Credentials("KEY", "SECRET"))


def place(endpoint: str, prefix: str) -> BucketPlace:
    return BucketPlace(bucket(endpoint), "", prefix)


def put(endpoint: str, *keys: str) -> None:
    for key in keys:
        bucket(endpoint).put(key, b"12345")


def test_odd_names_are_listed_as_they_are_and_removed(endpoint: str) -> None:
    put(endpoint, *(f"odd/1/run/{name}" for name in ODD), "odd/1/run2/x")
    found = {one.path: one.size for one in place(endpoint, "odd").files("1/run")}
    assert found == dict.fromkeys(ODD, 5)
    gone: list[tuple[int, int]] = []
    place(endpoint, "odd").remove("1/run", lambda count, size: gone.append((count, size)))
    assert [sum(values) for values in zip(*gone, strict=True)] == [len(ODD), 5 * len(ODD)]
    assert [one.path for one in place(endpoint, "").files("odd")] == ["1/run2/x"]


def test_more_than_a_page(endpoint: str) -> None:
    put(endpoint, *(f"many/1/run/{number:04d}" for number in range(1203)), "many/1/other/x")
    many = place(endpoint, "many")
    assert len(list(many.files("1/run"))) == 1203 and many.folders("1") == ["other", "run"]
    gone: list[int] = []
    many.remove("1/run", lambda count, size: gone.append(count), lambda path: path.endswith("5"))
    assert sum(gone) == 120 and len(list(many.files("1/run"))) == 1083, "some of more than a page"
    many.remove("1/run", lambda count, size: gone.append(count))
    assert sum(gone) == 1203 and list(many.files("1/run")) == [] and many.folders("1") == ["other"]


def test_only_what_is_wanted(endpoint: str) -> None:
    put(endpoint, "some/traces/a/x", "some/traces/b/x")
    some = place(endpoint, "some")
    some.remove("traces", lambda count, size: None, lambda path: path.startswith("a/"))
    assert [one.path for one in some.files("traces")] == ["b/x"]


def test_a_whole_collection(endpoint: str, tmp_path: Path) -> None:
    keys = tmp_path / "credentials"
    keys.write_text("[team]\naws_access_key_id = KEY\naws_secret_access_key = SECRET\n")
    wish = {
        "destination": f"s3://{BUCKET}/ml/flow",
        "region": "us-east-1",
        "endpoint_url": endpoint,
        "credentials_file": str(keys),
        "profile": "team",
    }
    site = Site(tmp_path / "root", wish)
    site.experiment(1)
    site.experiment(2, deleted_days=40)
    proxied, alive = site.run("a", deleted_days=40), site.run("b")
    inside = site.run("c", deleted_days=40, uri=f"s3://{BUCKET}/ml/flow/1/{'c' * 32}/artifacts")
    outside = site.run("d", deleted_days=40, uri=f"s3://{BUCKET}/old/1/{'d' * 32}/artifacts")
    foreign = site.run("e", deleted_days=40, uri=f"s3://not-there/old/1/{'e' * 32}/artifacts")
    trace = site.trace("f", 2)
    mine = [f"ml/flow/1/{proxied}", f"ml/flow/1/{inside}", f"old/1/{outside}"]
    put(endpoint, *(f"{folder}/artifacts/{name}" for folder in mine for name in "xy"))
    put(
        endpoint,
        f"ml/flow/2/traces/{trace}/artifacts/t",
        f"ml/flow/1/{alive}/artifacts/x",
        f"old/1/{alive}/artifacts/x",
    )
    report = site.look()
    assert report["totals"] == {"experiments": 1, "runs": 3, "models": 0, "traces": 1, "files": 7, "bytes": 35}
    assert report["versions"] is False
    assert [(kept["id"], kept["kind"]) for kept in report["kept"]] == [(foreign, "run")]
    assert "cannot be reached" in report["kept"][0]["why"]
    answer = site.collect()
    assert answer["removed"]["files"] == 7 and sorted(site.ids("runs")) == sorted([alive, foreign])
    left = {one.path for folder in ("ml", "old") for one in place(endpoint, "").files(folder)}
    assert left == {f"flow/1/{alive}/artifacts/x", f"1/{alive}/artifacts/x"}


def test_old_versions_are_told_of(endpoint: str) -> None:
    if "moto" not in bucket(endpoint).call("GET", "").headers.get("server", "").lower() and not _versions(endpoint):
        pytest.skip("this store keeps none")
    assert place(endpoint, "").keeps_versions() is True
    bucket(endpoint).call("PUT", "", query={"versioning": ""}, body=_status("Suspended"))


def _versions(endpoint: str) -> bool:
    try:
        bucket(endpoint).call("PUT", "", query={"versioning": ""}, body=_status("Enabled"))
    except S3Error:
        return False
    return place(endpoint, "").keeps_versions() is True


def _status(word: str) -> bytes:
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<VersioningConfiguration xmlns="{space}"><Status>{word}</Status></VersioningConfiguration>'.encode()


class Stubborn(Bucket):
    """A bucket that says what a test wants to hear."""

    listed = (
        "<Contents><Key>p/run/x</Key><Size>5</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
    )

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(BUCKET, "us-east-1", "http://127.0.0.1:1", Credentials("KEY", "SECRET"), patience=once())
        self.answers, self.deleted = answers, list[str]()

    def call(self, method: str, key: str, **other: Any) -> Any:
        from mlflow_provision.agent.http import Response

        status, text = self.answers.get(method, (200, ""))
        if method == "GET":
            left = "" if self.deleted and not self.answers.get("stays") else self.listed
            status, text = self.answers.get("GET", (200, left))
        if method == "DELETE" and status < 300:
            self.deleted.append(key)
        response = Response(status, {}, text.encode())
        if status >= 300 or (method == "POST" and "<Error>" in text):
            raise S3Error(response)
        return response


def removed(stubborn: Stubborn) -> None:
    BucketPlace(stubborn, "", "p").remove("run", lambda count, size: None)


def test_a_store_that_knows_no_deletion_of_many() -> None:
    stubborn = Stubborn({"POST": (501, "<Error><Code>NotImplemented</Code></Error>")})
    removed(stubborn)
    assert stubborn.deleted == ["p/run/x"]


@pytest.mark.parametrize(
    "answers",
    [
        {"POST": (200, "<DeleteResult><Error><Key>p/run/x</Key><Code>AccessDenied</Code></Error></DeleteResult>")},
        {"POST": (403, "<Error><Code>AccessDenied</Code></Error>")},
    ],
    ids=["each object", "all of it"],
)
def test_a_refusal_names_the_right_that_is_missing(answers: dict[str, Any]) -> None:
    with pytest.raises(AgentError, match="s3:DeleteObject on arn:aws:s3:::bucket/p/"):
        removed(Stubborn(answers))


def test_a_list_that_is_refused() -> None:
    with pytest.raises(AgentError, match="s3:ListBucket"):
        removed(Stubborn({"GET": (403, "<Error><Code>AccessDenied</Code></Error>")}))


def test_a_store_that_says_deleted_and_still_has_it() -> None:
    with pytest.raises(AgentError, match="though the store said that it is deleted"):
        removed(Stubborn({"stays": True}))
