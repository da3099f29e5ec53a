"""By which address a person reaches a server, and what they type to get there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_provision.cli.program import program

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment


def address(deployment: Deployment) -> str:
    """The URL from where the operator sits: of the tunnel that runs, else the server's own.

    Behind loopback on another host the server's own is true only there, or after `tunnel_command()`.
    """
    from mlflow_provision.tunnel import direct_url, running_on

    tunnel = running_on(deployment) if needs_tunnel(deployment) else None
    return tunnel.url if tunnel else direct_url(deployment)


def needs_tunnel(deployment: Deployment) -> bool:
    from mlflow_provision import tunnel

    return tunnel.needs_tunnel(deployment)


def lacks_tunnel(deployment: Deployment) -> bool:
    """It needs one, and none runs."""
    from mlflow_provision.tunnel import running_on

    return needs_tunnel(deployment) and running_on(deployment) is None


def tunnel_command(deployment: Deployment) -> str:
    """What makes `address()` true: a tunnel in the background, with the server's port here as there."""
    return f"{program()} tunnel {deployment.name} --background --local-port {deployment.mlflow.port}"
