"""What an MLflow client needs to find a deployment and log in: three environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlflow_provision.errors import ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_NO_PROXY = ("no_proxy", "NO_PROXY")
# Where the store is S3, a client of MLflow 3.17 fetches artifacts from there itself, by URLs that the server signs: but
# that store may be out of its reach, and its servers cannot be told not to offer it.
_DETOURS = ("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD")


def variables(deployment: Deployment, path: Path, url: str) -> dict[str, str]:
    """For the server at `url`; `path` is the deployment's file. Raises ProvisionError if the password is not known."""
    from mlflow_provision.config import ENVIRONMENT, secrets_beside, secrets_path
    from mlflow_provision.tunnel.supervised import login_of

    login = login_of(path, deployment)
    if not login.password:
        raise ProvisionError(
            f"the password of {login.username} on {deployment.name} is not known on this machine",
            f"write admin_password into {secrets_path(secrets_beside(path))}, or set {ENVIRONMENT['admin_password']}",
        )
    return {
        "MLFLOW_TRACKING_URI": url,
        "MLFLOW_TRACKING_USERNAME": login.username,
        "MLFLOW_TRACKING_PASSWORD": login.password,
    }


def beside(variables: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables, and those that keep a client on the way to the server: artifacts go through it, unless somebody
    decided otherwise, and where a proxy is set, the way to this machine's own ports does not lead through that."""
    variables = {**variables, **{detour: "false" for detour in _DETOURS if detour not in environment}}
    host = urlsplit(variables["MLFLOW_TRACKING_URI"]).hostname or ""
    if host != "127.0.0.1" or not any(environment.get(proxy) for proxy in _PROXIES):
        return variables
    spared = {}
    for name in _NO_PROXY:
        known = [part for part in environment.get(name, "").split(",") if part]
        spared[name] = ",".join([*known, *(one for one in ("127.0.0.1", "localhost") if one not in known)])
    return {**variables, **spared}
