"""`verify --client`: the real mlflow client through the tunnel, and a bucket whose keys only the server has."""

from __future__ import annotations

import threading

from tests.e2e.buckets import keys_in_profile, keys_of
from tests.e2e.operator import on
from tests.e2e.served import NAME, Served
from tests.lab import RcloneS3

CANARY = "AKIACANARYCANARYCANA"


def test_a_client_without_cloud_keys_uses_a_bucket(served: Served, rclone_s3: RcloneS3) -> None:
    operator = served.operator
    rclone_s3.create_bucket("clients")
    keys_in_profile(operator, "work", rclone_s3.keys)
    where = ("--artifacts", "s3://clients/ml", "--endpoint-url", rclone_s3.endpoint, "--aws-profile", "work")
    operator.run("setup", on(served.host), "--name", "bucket", "--port", "5050", "--yes", *where)
    operator.variables |= {"AWS_ACCESS_KEY_ID": CANARY, "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_PROFILE": "work"}
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.update(keys_of(rclone_s3.client(), "clients"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        answer = operator.json("verify", "bucket", "--client", "--yes")
    finally:
        over.set()
        looking.join()
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            del operator.variables[variable]
    steps = ["no-key", "client", "train", "read-back", "figure", "model", "register", "search", "predict"]
    assert {check["step"]: check["verdict"] for check in answer["verify"]} == dict.fromkeys(
        [*steps, "clean", "alone"], "ok"
    )
    assert answer["verify"][0]["summary"].startswith("none in its environment or home")
    assert any(key.endswith("figures/loss.png") for key in seen) and any("/models/m-" in key for key in seen)
    assert keys_of(rclone_s3.client(), "clients") == []


def test_nothing_is_left_of_it_in_a_folder(served: Served) -> None:
    """Its environment is there from now on, and nothing is asked."""
    artifacts = served.host.path(f"/opt/mlflow/{NAME}/data/artifacts")
    before = sorted(artifacts.rglob("*"))
    served.operator.run("verify", NAME, "--client", "--yes")
    assert "serves clients: 11 checks" in served.operator.run("verify", NAME, "--client").stdout
    assert sorted(artifacts.rglob("*")) == before
    served.until_no_tunnel()
