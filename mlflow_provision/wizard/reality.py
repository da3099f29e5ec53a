"""The world as it is: ~/.ssh, ~/.aws, AWS itself, and one connection to the host that was chosen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_provision.config import Deployment, Secrets, deployment_path, deployments, load_secrets, secrets_beside
from mlflow_provision.errors import ProvisionError
from mlflow_provision.ssh_target import CONFIG_VARIABLE
from mlflow_provision.wizard.world import aliases

if TYPE_CHECKING:
    from mlflow_provision.aws.ec2 import Instance
    from mlflow_provision.aws.security_groups import Exposure
    from mlflow_provision.host import Host


@dataclass
class Reality:
    """`connect` reaches a host, `busy` shows that something takes its time."""

    connect: Callable[[Deployment], Host]
    busy: Callable[[str], AbstractContextManager[None]]
    _host: Host | None = None
    _reached: tuple[str, ...] = ()

    @property
    def host(self) -> Host:
        """The host that was looked at."""
        assert self._host is not None, "no host was looked at"  # noqa: S101
        return self._host

    def close(self) -> None:
        if self._host:
            self._host.close()
        self._host, self._reached = None, ()

    def deployments(self) -> dict[str, Deployment]:
        return deployments()

    def secrets(self, name: str) -> Secrets:
        return load_secrets(secrets_beside(deployment_path(name)))

    def ssh_hosts(self) -> list[str]:
        return aliases(Path(os.environ.get(CONFIG_VARIABLE, "~/.ssh/config")))

    def profiles(self) -> list[str]:
        from mlflow_provision.aws import profile_names

        return profile_names()

    def region_of(self, profile: str) -> str:
        from mlflow_provision.aws import default_region

        return default_region(profile)

    def instances(self, profile: str, region: str) -> list[Instance]:
        from mlflow_provision.aws.ec2 import instances

        with self.busy(f"Looking for instances in {region}"):
            return instances(profile, region)

    def exposure(self, profile: str, region: str, address: str, port: int) -> Exposure | None:
        from mlflow_provision.aws.security_groups import exposure

        with self.busy("Looking at the security group"):
            return exposure(profile, region, address, port)

    def buckets(self, profile: str) -> list[str]:
        from mlflow_provision.aws.buckets import buckets

        with self.busy("Listing buckets"):
            return buckets(profile)

    def region_of_bucket(self, profile: str, bucket: str) -> str:
        from mlflow_provision.aws.buckets import region_of

        return region_of(profile, bucket)

    def create_bucket(self, profile: str, bucket: str, region: str) -> list[str]:
        from mlflow_provision.aws.buckets import create_bucket

        with self.busy(f"Creating {bucket}"):
            return create_bucket(profile, bucket, region)

    def policy(self, deployment: Deployment) -> str:
        from mlflow_provision.aws.wanted import policy_of

        return json.dumps(policy_of(deployment), indent=2)

    def make_role(self, deployment: Deployment, profile: str, region: str, instance: str) -> list[str]:
        from mlflow_provision.aws.roles import attach_role, create_role
        from mlflow_provision.aws.wanted import policy_of

        name = f"mlflow-{deployment.name}"
        with self.busy(f"Making the role {name}"):
            done = create_role(profile, name, policy_of(deployment), region)
            return done + attach_role(profile, region, instance, name)

    def make_user(self, deployment: Deployment, profile: str) -> tuple[list[str], str, str]:
        from mlflow_provision.aws.roles import create_user
        from mlflow_provision.aws.wanted import policy_of

        name = f"mlflow-{deployment.name}"
        with self.busy(f"Making the user {name}"):
            done, made = create_user(profile, name, policy_of(deployment))
        return done, made.access_key_id, made.secret_access_key

    def look(self, deployment: Deployment) -> dict[str, Any]:
        from mlflow_provision.provision import look

        about = (deployment.host, deployment.scope, deployment.identity_file)
        if about != self._reached:
            self.close()
            with self.busy(f"Connecting to {deployment.host}"):
                self._host = self.connect(deployment)
            self._reached = about
        with self.busy("Looking around"):
            try:
                facts, _ = look(self.host, deployment)
            except ProvisionError:
                self.close()
                raise
        return facts

    def instance_role(self) -> tuple[str, str]:
        from mlflow_provision.provision import instance_role

        with self.busy("Asking for an instance role"):
            return instance_role(self.host)

    def try_store(self, deployment: Deployment, secrets: Secrets) -> None:
        from mlflow_provision.provision import try_store

        with self.busy(f"Trying {deployment.artifacts.destination} from the host"):
            try_store(self.host, deployment, secrets)

    def old_settings(self, facts: dict[str, Any]) -> dict[str, Any]:
        from mlflow_provision.adoption import settings

        return settings(facts["old_server"])
