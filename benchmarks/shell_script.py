"""The reference: an MLflow server with basic auth, made the plain way, by a shell script over SSH."""

from __future__ import annotations

import secrets

from benchmarks.clock import run
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION
from tests.lab import LabHost

# Workers, job runners and the auth cache are as MLflow has them by default.
SCRIPT = """
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive PIP_CERT=/etc/ssl/certs/ca-certificates.crt
sudo -E apt-get update -q
sudo -E apt-get install -y -q python3-venv python3-pip

mkdir -p ~/mlflow-server/artifacts && cd ~/mlflow-server
python3 -m venv venv
venv/bin/pip install -q 'mlflow[auth]=={version}' boto3

umask 077
cat > .mlflow_auth_config <<END
[mlflow]
default_permission = READ
database_uri = sqlite:///$PWD/basic_auth.db
admin_username = admin
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
END

cat > start_mlflow_server.sh <<END
#!/bin/bash
export MLFLOW_AUTH_CONFIG_PATH=$PWD/.mlflow_auth_config
export MLFLOW_FLASK_SERVER_SECRET_KEY={secret_key}
exec $PWD/venv/bin/mlflow server --host 127.0.0.1 --port {port} --app-name basic-auth \\
    --backend-store-uri sqlite:///$PWD/mlflow.db --artifacts-destination $PWD/artifacts
END
chmod +x start_mlflow_server.sh

sudo tee /etc/systemd/system/{unit} >/dev/null <<END
[Unit]
After=network-online.target
[Service]
User=$USER
WorkingDirectory=$PWD
ExecStart=$PWD/start_mlflow_server.sh
Restart=always
[Install]
WantedBy=multi-user.target
END
sudo systemctl daemon-reload
sudo systemctl enable -q --now {unit}
until curl -fs http://127.0.0.1:{port}/health; do sleep 0.2; done
"""


class ShellScript:
    """A server on a lab host, made the plain way."""

    unit = "mlflow-server.service"
    port = 5000

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self.password = secrets.token_urlsafe(18)
        self._ssh = ["ssh", "-F", str(host.ssh_config), host.name, "timeout 900 bash"]
        self.seconds = 0.0  # from the blank host to a server that answers /health; nothing more is checked

    def set_up(self) -> ShellScript:
        script = SCRIPT.format(
            version=DEFAULT_MLFLOW_VERSION,
            password=self.password,
            secret_key=secrets.token_hex(),
            port=self.port,
            unit=self.unit,
        )
        self.seconds, _ = run(self._ssh, input=script)
        return self
