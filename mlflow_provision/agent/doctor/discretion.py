"""No secret leaves the host in what a check has seen, not even out of somebody else's log line."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

from mlflow_provision.agent.doctor.finding import Finding
from mlflow_provision.agent.doctor.patient import Patient

HIDDEN = "********"
_SHORTEST = 6  # what is shorter may be a word like any other
_SECRET_NAME = re.compile(r"(password|passphrase|secret|token|ping_url|_key$)", re.IGNORECASE)
_NOT_SECRET = ("aws_access_key_id", "access_key_id")
_URL_LOGIN = re.compile(r"(\w+://)[^/\s:@]+:[^/\s@]+@")
_AUTHORIZATION = re.compile(r"(authorization\W{1,4}(?:basic|bearer)\s+)\S+", re.IGNORECASE)


class Discretion:
    """Knows every secret of a deployment that is on its host or in the request."""

    def __init__(self, patient: Patient) -> None:
        found = {patient.server.password, *patient.data.get("secrets", ())}
        named = [*patient.configured.items()]
        for name in ("aws_credentials", "aws_config", "auth_config"):
            named += _of_ini(patient.files.get(name, ""))
        found |= {value for name, value in named if _is_secret(name)}
        found |= _of_job(patient.files.get("backup_job", ""))
        self._secrets = sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)

    def applied(self, found: Finding) -> Finding:
        """The finding without secrets."""
        return Finding(found.verdict, self._clean(found.evidence), self._cleaned(found.data))

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._clean(value)
        if isinstance(value, dict):
            return {name: self._cleaned(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._cleaned(inner) for inner in value]
        return value

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _AUTHORIZATION.sub(rf"\1{HIDDEN}", _URL_LOGIN.sub(rf"\1{HIDDEN}@", text))


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and name.lower() not in _NOT_SECRET


def _of_ini(path: str) -> list[tuple[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        return []
    return [pair for section in parser.sections() for pair in parser.items(section)]


def _of_job(path: str) -> set[str]:
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    found: set[str] = set()

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key != "source":  # files by name and path, the one with secrets among them
                    walk(inner, key)
        elif isinstance(value, str) and _is_secret(name):
            found.add(value)

    walk(content, "")
    return found
