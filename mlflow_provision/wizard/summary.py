"""Every answer on one screen; each can be changed from it."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_provision.wizard.conversation import Conversation


@dataclass(frozen=True)
class Line:
    """What was answered in one section of the questions; "" for a section that cannot be changed by itself."""

    section: str
    label: str
    text: str


def lines(talk: Conversation) -> list[Line]:
    deployment, facts = talk.deployment, talk.facts
    mlflow, auth = deployment.mlflow, deployment.auth
    system = facts["os"]["name"] if facts else ""
    found = [
        Line("where", "Host", f"{_host(deployment.host)}{f', {system}' if system else ''}"),
        Line("existing" if not talk.answers.base else "", "Name", deployment.name),
        Line("", "MLflow", f"{mlflow.version}, database SQLite"),
        Line("artifacts", "Artifacts", _artifacts(talk)),
    ]
    if deployment.artifacts.credentials:
        found.append(Line("credentials", "Credentials", _credentials(talk)))
    found += [
        Line("login", "Login", f"{auth.admin_username}, {_password(talk)}; others may {auth.default_permission}"),
        Line("network", "Network", _network(talk)),
        Line("backups", "Backups", _backups(talk)),
    ]
    return found


def _host(host: str) -> str:
    return "this machine" if host == "local" else host


def _artifacts(talk: Conversation) -> str:
    artifacts = talk.deployment.artifacts
    if not artifacts.destination:
        return "a folder beside the database"
    return artifacts.destination + (f" at {artifacts.endpoint_url}" if artifacts.endpoint_url else "")


def _credentials(talk: Conversation) -> str:
    artifacts = talk.deployment.artifacts
    return {
        "instance-role": "the instance role of the host",
        "profile": f"the keys of the AWS profile {artifacts.profile}",
        "keys": "typed keys",
    }[artifacts.credentials]


def _password(talk: Conversation) -> str:
    if talk.answers.notes.get("password") == "typed":
        return "a typed password"
    if talk.answers.adopt:
        return "the password on the old server"
    return "the password it has" if talk.answers.secrets.admin_password else "a generated password"


def _network(talk: Conversation) -> str:
    from mlflow_provision.blueprint.reach import is_loopback

    mlflow = talk.deployment.mlflow
    if not is_loopback(mlflow.listen):
        names = f", also as {', '.join(mlflow.allowed_hosts)}" if mlflow.allowed_hosts else ""
        return f"port {mlflow.port} on {mlflow.listen}, without encryption{names}"
    how = "only from this machine" if talk.answers.host == "local" else "only through an SSH tunnel"
    return f"port {mlflow.port}, {how}"


def _backups(talk: Conversation) -> str:
    backup = talk.deployment.backup
    if not backup.destination:
        return "none"
    often = "when you ask for one" if not backup.scheduled else backup.schedule
    secret = ", encrypted" if backup.encryption else ""
    kept = f"{backup.keep_daily} daily and {backup.keep_weekly} weekly kept"
    return f"{backup.destination}, {often}{secret}, {kept}"
