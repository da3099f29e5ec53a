"""Reality, as far as the wizard asks it: this machine, AWS, and the host. Tests bring their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlflow_provision.config import Deployment, Secrets

if TYPE_CHECKING:
    from mlflow_provision.aws.ec2 import Instance
    from mlflow_provision.aws.security_groups import Exposure


class World(Protocol):
    """Whatever fails raises ProvisionError, and can be asked again."""

    def deployments(self) -> dict[str, Deployment]:
        """Those known on this machine, by name."""

    def ssh_hosts(self) -> list[str]:
        """The aliases in the configuration of ssh."""

    def profiles(self) -> list[str]:
        """The AWS profiles of this machine."""

    def region_of(self, profile: str) -> str:
        """The default region of a profile, or ""."""

    def instances(self, profile: str, region: str) -> list[Instance]: ...

    def exposure(self, profile: str, region: str, address: str, port: int) -> Exposure | None: ...

    def buckets(self, profile: str) -> list[str]: ...

    def region_of_bucket(self, profile: str, bucket: str) -> str:
        """Where a bucket is, or "" where that cannot be told."""

    def create_bucket(self, profile: str, bucket: str, region: str) -> list[str]:
        """What was done, a line each."""

    def look(self, deployment: Deployment) -> dict[str, Any]:
        """The facts of its host; connects to it first where that is another than before."""

    def instance_role(self) -> tuple[str, str]:
        """The role of the host, or "" and why it has none."""

    def secrets(self, name: str) -> Secrets:
        """What is known on this machine of a deployment's secrets."""

    def old_settings(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The settings of the server that a script made, by the key of the deployment file."""

    def policy(self, deployment: Deployment) -> str:
        """The least that the server must be allowed, as JSON."""

    def make_role(self, deployment: Deployment, profile: str, region: str, instance: str) -> list[str]:
        """Make a role with exactly that, and attach it to the instance: what was done, a line each."""

    def make_user(self, deployment: Deployment, profile: str) -> tuple[list[str], str, str]:
        """Make an IAM user with exactly that: what was done, the access key id and the secret access key."""

    def try_store(self, deployment: Deployment, secrets: Secrets) -> None:
        """Can the host use the bucket? Raises with all that is missing."""


def aliases(config: Path, depth: int = 0) -> list[str]:
    """The hosts that a configuration of ssh names, without patterns, in its order; Include is followed."""
    try:
        lines = config.expanduser().read_text(errors="replace").splitlines()
    except OSError:
        return []
    found: list[str] = []
    for line in lines:
        words = line.replace("=", " ", 1).split("#")[0].split()
        if len(words) < 2:
            continue
        if words[0].lower() == "include" and depth < 8:
            for pattern in words[1:]:
                for path in _included(pattern):
                    found += aliases(path, depth + 1)
        elif words[0].lower() == "host":
            found += [word.strip('"') for word in words[1:] if not set(word) & set("*?!")]
    return list(dict.fromkeys(found))


def _included(pattern: str) -> list[Path]:
    """Relative ones are below ~/.ssh, as ssh_config(5) says."""
    path = Path(pattern.strip('"')).expanduser()
    path = path if path.is_absolute() else Path.home() / ".ssh" / path
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
