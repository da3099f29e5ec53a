"""Bad days of the package index: not reachable, no index, half an index, and versions that it does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.agent.index import DEFAULT_INDEX_URL
from mlflow_provision.uv_pin import UV_WHEELS
from tests.e2e.bad_day import accepted, refused
from tests.e2e.mirror import PROJECTS, Page, listing, mirror
from tests.e2e.operator import Operator, on
from tests.lab import LabHost


@pytest.fixture
def operator(host: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, host.ssh_config)


def test_no_way_out_to_the_package_index(host: LabHost, operator: Operator) -> None:
    host.network.block_internet("REJECT")
    try:
        said = refused(host, operator)
    finally:
        host.network.allow_internet()
    assert "this host cannot reach the package index" in said
    assert "let the host reach it (security group, proxy, DNS), or name a mirror: --index-url URL" in said
    accepted(host, operator)


def test_nothing_listens_at_the_mirror(host: LabHost, operator: Operator) -> None:
    said = refused(host, operator, "--index-url", f"http://{host.network.gateway}:9/simple")
    assert f"this host cannot reach the package index {host.network.gateway}: Connection refused" in said


def test_the_mirror_is_no_web_server(host: LabHost, operator: Operator) -> None:
    said = refused(host, operator, "--index-url", f"http://{host.address}:22/simple")
    assert f"this host cannot reach the package index {host.address}: SSH-2.0-OpenSSH" in said


def test_the_mirror_has_no_such_page(host: LabHost, operator: Operator) -> None:
    with mirror(host, {}) as url:
        said = refused(host, operator, "--index-url", url)
    assert f"the package index {host.network.gateway} answered 404 Not Found to {url}/mlflow/" in said
    assert "--index-url URL (of the list of all projects, often …/simple)" in said


def test_the_mirror_is_some_other_web_page(host: LabHost, operator: Operator) -> None:
    pages = {f"/{project}/": Page(b"<html>Welcome to nginx!</html>") for project in PROJECTS}
    with mirror(host, pages) as url:
        said = refused(host, operator, "--index-url", url)
    assert f"{url} lists no MLflow that can be installed" in said


def test_the_mirror_lacks_what_mlflow_is_made_of(host: LabHost, operator: Operator) -> None:
    with mirror(host, {"/mlflow/": listing("mlflow"), **{f"/{part}/": Page(b"") for part in PROJECTS[1:]}}) as url:
        said = refused(host, operator, "--index-url", url)
    assert f"{url} lists no MLflow that can be installed" in said


def test_the_mirror_breaks_off_in_a_page(host: LabHost, operator: Operator) -> None:
    with mirror(host, {"/mlflow/": Page(b"<a href=mlflow-3.17", length=5000)}) as url:
        said = refused(host, operator, "--index-url", url)
    assert f"the package index {host.network.gateway} broke off in {url}/mlflow/" in said


def test_the_mirror_breaks_off_in_a_file(host: LabHost, operator: Operator) -> None:
    """Seen only once the setup has begun; what it has done until then is no hindrance afterwards."""
    name = UV_WHEELS["x86_64"][0]
    pages = {f"/{project}/": listing(project) for project in PROJECTS}
    pages |= {"/uv/": Page(f"<a href={name}>".encode()), f"/uv/{name}": Page(b"PK", length=30_000_000)}
    with mirror(host, pages) as url:
        said = operator.refused("setup", on(host), "--yes", "--index-url", url)
        assert f"{name} from the package index has sha256 " in said
        assert "not installed" in said
        assert "try again, or another --index-url" in said
        pages["/uv/"] = Page(b"")
        said = operator.refused("setup", "server", "--yes")
        assert f"the package index does not offer {name}" in said
        # A mirror of these projects, without those that they depend on.
        pages |= {
            f"/{project}/": Page(b"", redirect=f"{DEFAULT_INDEX_URL}/{project}/") for project in (*PROJECTS, "uv")
        }
        said = operator.refused("setup", "server", "--yes")
        assert "the package index has no set of packages for mlflow[auth]==3.17.2" in said
        assert "--mlflow-version VERSION" in said
    assert list(host.path("/opt/mlflow/releases").glob("*")) == []
    operator.run("destroy", "server", "--delete-data", "--yes")
    assert not host.path("/opt/mlflow").exists()


def test_a_version_that_does_not_exist(host: LabHost, operator: Operator) -> None:
    said = refused(host, operator, "--mlflow-version", "3.17.99")
    assert "there is no MLflow 3.17.99" in said
    assert "3.17.2" in said
    assert "--mlflow-version latest" in said


def test_a_release_that_is_half_published(host: LabHost, operator: Operator) -> None:
    """The index lists mlflow 3.18.0, but not the mlflow-skinny 3.18.0 that it needs."""
    said = refused(host, operator, "--mlflow-version", "3.18.0")
    assert "MLflow 3.18.0 is only half published" in said
    assert "Next: take the newest that installs: --mlflow-version 3.17.2" in said
    plan = operator.run("setup", on(host), "--dry-run", "--mlflow-version", "latest").stdout
    assert "MLflow 3.17.2" in plan
