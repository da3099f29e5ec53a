from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlflow_provision.agent.http import NoAnswer, Response
from mlflow_provision.agent.s3 import Bucket, Credentials, S3Error, bucket, instance_role
from mlflow_provision.agent.s3.signature import canonical_query, signed_headers
from tests.agent.fake_s3 import FakeS3, serve

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
WITH_TOKEN = Credentials(KEYS.access_key_id, KEYS.secret_access_key, "a/session+token==")


@pytest.mark.parametrize("keys", [KEYS, WITH_TOKEN])
@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("PUT", "/b/p/a%20key/%C3%BC~%2B", {}, b"body"),
        ("GET", "/b/", {"list-type": "2", "prefix": "a b/ü+=&", "max-keys": "1"}, b""),
        ("DELETE", "/k", {"versionId": "x/y"}, b""),
    ],
)
def test_the_signature_is_botocores(
    keys: Credentials, method: str, path: str, query: dict[str, str], body: bytes
) -> None:
    auth = pytest.importorskip("botocore.auth", reason="botocore is not installed")
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as BotoCredentials

    now = datetime.now(timezone.utc)
    host = "store.example.com:9000"
    ours = signed_headers(keys, "eu-west-1", now, method, path, query, {"Host": host, "Content-MD5": "x=="}, body)
    url = f"http://{host}{path}" + ("?" + canonical_query(query) if query else "")
    request = AWSRequest(method, url, {"Content-MD5": "x=="}, body)
    signer = auth.S3SigV4Auth(
        BotoCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token or None), "s3", "eu-west-1"
    )
    request.context["timestamp"] = ours["X-Amz-Date"]
    request.headers["X-Amz-Date"] = ours["X-Amz-Date"]
    request.headers["X-Amz-Content-SHA256"] = ours["X-Amz-Content-SHA256"]
    if keys.session_token:
        request.headers["X-Amz-Security-Token"] = keys.session_token
    canonical = signer.canonical_request(request)
    theirs = signer.signature(signer.string_to_sign(request, canonical), request)
    assert ours["Authorization"].endswith(f"Signature={theirs}")


def test_no_secret_in_reprs() -> None:
    shown = repr(Bucket("b", "r", "", WITH_TOKEN))
    assert WITH_TOKEN.secret_access_key not in shown and WITH_TOKEN.session_token not in shown


@pytest.mark.parametrize(
    ("name", "region", "endpoint", "url"),
    [
        ("b-1", "", "", "https://b-1.s3.us-east-1.amazonaws.com/k"),
        ("b-1", "eu-west-1", "", "https://b-1.s3.eu-west-1.amazonaws.com/k"),
        ("b.dots", "eu-west-1", "", "https://s3.eu-west-1.amazonaws.com/b.dots/k"),
        ("b-1", "cn-north-1", "", "https://b-1.s3.cn-north-1.amazonaws.com.cn/k"),
        ("b-1", "eu-west-1", "http://minio:9000/", "http://minio:9000/b-1/k"),
        ("b-1", "eu-west-1", "https://host/s3", "https://host/s3/b-1/k"),
    ],
)
def test_where_requests_go(monkeypatch: pytest.MonkeyPatch, name: str, region: str, endpoint: str, url: str) -> None:
    asked = record(monkeypatch, [Response(200, {}, b"")])
    Bucket(name, region, endpoint, KEYS).get("k")
    assert asked == [url]


def test_a_young_bucket_redirects_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    location = {"location": "https://young.s3.eu-west-1.amazonaws.com/k"}
    asked = record(monkeypatch, [Response(307, location, b""), Response(200, {}, b"x")])
    assert Bucket("young", "us-east-1", "", KEYS).get("k") == b"x"
    assert asked[1] == "https://young.s3.eu-west-1.amazonaws.com/k"


@pytest.mark.parametrize(
    "answer",
    [
        Response(301, {"x-amz-bucket-region": "eu-west-1"}, b"<Error><Code>PermanentRedirect</Code></Error>"),
        Response(400, {}, b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"),
    ],
)
def test_another_region_is_asked_next(monkeypatch: pytest.MonkeyPatch, answer: Response) -> None:
    asked = record(monkeypatch, [answer, Response(200, {}, b"x")])
    store = Bucket("b-1", "us-east-1", "", KEYS)
    assert store.get("k") == b"x"
    assert store.region == "eu-west-1"
    assert asked[1] == "https://b-1.s3.eu-west-1.amazonaws.com/k"


def test_redirects_for_ever_end(monkeypatch: pytest.MonkeyPatch) -> None:
    record(monkeypatch, [Response(307, {"location": "https://b-1.example.com/k"}, b"")] * 3)
    with pytest.raises(S3Error, match="HTTP 307"):
        Bucket("b-1", "", "", KEYS).get("k")


def record(monkeypatch: pytest.MonkeyPatch, answers: list[Response]) -> list[str]:
    """Answer requests one by one; the URLs that were asked."""
    asked: list[str] = []
    left = list(answers)

    class Recorder:
        def __init__(self, url: str, timeout: float, connections: object) -> None:
            self.url = url

        def call(self, method: str, target: str, *, headers: dict[str, str], **_: Any) -> Response:
            assert headers["Host"] == urlsplit(self.url).netloc
            asked.append(self.url + target)
            return left.pop(0)

    monkeypatch.setattr(bucket, "Client", Recorder)
    return asked


def test_errors_have_a_code_and_a_message() -> None:
    with serve(FakeS3(error=(403, "AccessDenied"))) as fake, pytest.raises(S3Error) as caught:
        Bucket("bucket", "", fake.endpoint, KEYS).get("k")
    assert (caught.value.status, caught.value.code) == (403, "AccessDenied")
    assert caught.value.date == "Wed, 01 Jan 2020 00:00:00 GMT"


def test_put_list_get_delete() -> None:
    with serve(FakeS3()) as fake:
        store = Bucket("bucket", "", fake.endpoint, KEYS)
        store.put("p/ü&<", b"body")
        store.put("q", b"")
        assert store.list("p/") == {"p/ü&<": fake.put_at}
        assert store.get("p/ü&<") == b"body"
        store.delete("p/ü&<")
        assert store.list("p/") == {}


# The instance metadata service.

ROLE = {"Code": "Success", "AccessKeyId": "ASIA", "SecretAccessKey": "secret", "Token": "token"}
Answer = tuple[int, str]


@pytest.fixture
def metadata() -> Iterator[Callable[[dict[str, Answer]], str]]:
    servers = []

    def start(answers: dict[str, Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                status, text = answers.get(self.path, (404, ""))
                if self.command == "GET" and self.headers["X-aws-ec2-metadata-token"] != "the-token":
                    status, text = 401, ""
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = _serve

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


TOKEN = {"/latest/api/token": (200, "the-token")}
LISTING = "/latest/meta-data/iam/security-credentials/"


def test_an_instance_role(metadata: Callable[[dict[str, Answer]], str]) -> None:
    url = metadata({**TOKEN, LISTING: (200, "tracking"), LISTING + "tracking": (200, json.dumps(ROLE))})
    assert instance_role.role_credentials(url) == ("tracking", Credentials("ASIA", "secret", "token"))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({}, "refuses a token"),
        (TOKEN, "no instance role"),
        (
            {**TOKEN, LISTING: (200, "r"), LISTING + "r": (200, '{"Code": "Failed"}')},
            "no credentials",
        ),
        ({**TOKEN, LISTING: (200, "r"), LISTING + "r": (500, "<html>")}, "no credentials"),
    ],
)
def test_no_instance_role(metadata: Callable[[dict[str, Answer]], str], answers: dict[str, Answer], words: str) -> None:
    with pytest.raises(instance_role.NoInstanceRole, match=words):
        instance_role.role_credentials(metadata(answers))


def test_not_an_ec2_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **__: Any) -> Response:
        raise NoAnswer("timeout", "no answer")

    monkeypatch.setattr(instance_role.Client, "call", silent)  # type: ignore[attr-defined]
    with pytest.raises(instance_role.NoInstanceRole, match="not an EC2 instance"):
        instance_role.role_credentials()
