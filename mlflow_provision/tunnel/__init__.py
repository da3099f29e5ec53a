"""OpenSSH port forwarding to a deployment: started, watched, mended, listed and stopped."""

from mlflow_provision.tunnel.opening import Opened, opened
from mlflow_provision.tunnel.registry import running, running_on
from mlflow_provision.tunnel.route import direct_url, needs_tunnel
from mlflow_provision.tunnel.states import State, Status

__all__ = ["Opened", "State", "Status", "direct_url", "needs_tunnel", "opened", "running", "running_on"]
