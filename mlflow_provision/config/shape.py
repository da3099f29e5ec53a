"""TOML tables to a `Deployment`: unknown keys, wrong types and misplaced secrets are told by the path of their key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from mlflow_provision.config.deployment import Deployment, Secrets
from mlflow_provision.config.wording import nearest, one_of, shown

SECRET_WORD = re.compile(
    r"passw|passphrase|secret|token|(access|api|private)[_-]?key|ping[_-]?url|^identity$", re.IGNORECASE
)
BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
EXPECTED = {
    str: "text in quotes",
    int: "a whole number",
    int | None: "a whole number",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
}
TYPES = {
    bool: "true or false",
    str: "text",
    int: "a whole number",
    float: "a fraction",
    list: "a list",
    dict: "a table",
}


def read_shape(tables: dict[str, Any], name: str) -> tuple[Deployment, list[str]]:
    """The deployment, with defaults for what could not be used, and all problems; `name` is what the file is called."""
    shape = Shape(secrets_file=f"{name}.secrets.toml")
    values = shape.values(Deployment, tables, "")
    if values.setdefault("name", name) != name:
        given, called = shown(values["name"]), shown(name)
        shape.problems.append(f"name: {given} is not what the file is called: rename the file, or write {called}")
        values["name"] = name
    if "host" not in tables:
        shape.problems.append('host: missing: give what you would give to ssh, like "ubuntu@203.0.113.7", or "local"')
    values.setdefault("host", "local")
    return Deployment(**values), shape.problems


@dataclass
class Shape:
    """One reading of a file: collects the problems on its way through the tables."""

    secrets_file: str
    problems: list[str] = field(default_factory=list)

    def values(self, kind: Any, table: dict[str, Any], prefix: str) -> dict[str, Any]:
        """What a `kind` can be made of."""
        types = get_type_hints(kind)
        values: dict[str, Any] = {}
        for key, value in table.items():
            path, expected = prefix + printable(key), types.get(key)
            if expected is None:
                self.problems.extend(self.unknown(kind, key, value, path))
            elif is_dataclass(expected) and isinstance(expected, type):
                if isinstance(value, dict):
                    values[key] = expected(**self.values(expected, value, f"{path}."))
                else:
                    self.problems.append(f"{path}: expected a table, [{path}], and found {type_of(value)}")
            elif fits(value, expected):
                values[key] = tuple(value) if isinstance(value, list) else value
            else:
                self.problems.append(f"{path}: expected {EXPECTED[expected]} and found {type_of(value)}{scalar(value)}")
        return values

    def unknown(self, kind: Any, key: str, value: Any, path: str) -> Iterator[str]:
        """A secret that does not belong here, a key in the wrong place, or a typing error. Never shows the value."""
        if misplaced := list(self.secrets_in(key, value, path)):
            yield from misplaced
            return
        places, siblings = known_places(), [sibling.name for sibling in fields(kind)]
        if match := nearest(key, siblings):
            meant = f"did you mean {match}?"
        elif match := nearest(key, places):
            meant = f"did you mean {places[match]}?"
        else:
            meant = f"known here: {', '.join(siblings)}"
        yield f"{path}: there is no such {'table' if isinstance(value, dict) else 'key'}; {meant}"

    def secrets_in(self, key: str, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict):
            for inner, inner_value in value.items():
                yield from self.secrets_in(inner, inner_value, f"{path}.{printable(inner)}")
        elif SECRET_WORD.search(key):
            target = f"{self.secrets_file}, as {secret_name(key)}"
            yield f"{path}: a secret does not belong in this file: move it to {target}"


def fits(value: Any, expected: Any) -> bool:
    if expected == tuple[str, ...]:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return type(value) is (int if expected == int | None else expected)  # not isinstance: true is no number


def secret_name(key: str) -> str:
    """What the secrets file calls it."""
    known = [secret.name for secret in fields(Secrets)]
    folded = key.lower().replace("-", "_")
    if "passphrase" in folded:
        return "backup_passphrase"
    if "passw" in folded:
        return "admin_password"
    return next((name for name in known if name.endswith(folded) or folded.endswith(name)), one_of(known))


def known_places() -> dict[str, str]:
    """Every key of a deployment file, and where it belongs."""
    top = get_type_hints(Deployment)
    tables = {key: kind for key, kind in top.items() if is_dataclass(kind)}
    inner = {part.name: f"{key}.{part.name}" for key, kind in tables.items() for part in fields(kind)}
    return inner | {key: f"{key}, above the first [table]" for key in top if key not in tables}


def printable(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else shown(key)


def type_of(value: Any) -> str:
    return TYPES.get(type(value), "a date or time")


def scalar(value: Any) -> str:
    return f" ({shown(value)})" if isinstance(value, (str, int, float)) else ""
