"""A deployment's file: read strictly, written with care for what people wrote in it."""

from __future__ import annotations

import stat
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_provision.config.deployment import Deployment
from mlflow_provision.config.files import parse_toml, read_text, write_whole
from mlflow_provision.config.shape import read_shape
from mlflow_provision.config.validate import check, refuse, validate
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from tomlkit.container import Container
    from tomlkit.items import Table

MODE = 0o644  # no secret in it
HEADER = """\
# One MLflow server, kept by mlflow-provision. No secret belongs in here: they are in {name}.secrets.toml beside this.
# After a change: `mlflow-provision plan {name}` shows what follows from it, `mlflow-provision setup {name}` does it.

"""


def load(path: Path) -> Deployment:
    """The deployment in this file, checked; one error lists all that is wrong with it."""
    deployment, problems = read_shape(parse_toml(read_text(path), path), path.stem)
    told = {problem.partition(":")[0] for problem in problems}
    refuse(problems + [other for other in validate(deployment) if other.partition(":")[0] not in told], str(path))
    return deployment


def save(deployment: Deployment, path: Path) -> None:
    """Write what differs from the defaults and what people want to see; comments and order of an old file stay."""
    check(deployment, str(path))
    old = read_text(path) if path.exists() else ""
    text = edited(old, deployment, path) if old.strip() else as_toml(deployment)
    if read_shape(parse_toml(text, path), path.stem) != (deployment, []):
        raise ProvisionError(
            f"{path} cannot be changed without spoiling it, or it is not the file of {deployment.name}",
            hint=f"move {path} away and run the command again: a new one will be written",
            code=ExitCode.USAGE,
        )
    if text != old:
        write_whole(path, text, stat.S_IMODE(path.stat().st_mode) if path.exists() else MODE)


def as_toml(deployment: Deployment) -> str:
    """The text of a new file, with comments."""
    import tomlkit

    document = tomlkit.document()
    put(document, deployment, new=True)
    return HEADER.format(name=deployment.name) + tomlkit.dumps(document)


def edited(old: str, deployment: Deployment, path: Path) -> str:
    """The old file with the new values; keys it never had are added only where they differ from the default."""
    import tomlkit

    _, problems = read_shape(parse_toml(old, path), path.stem)
    refuse(problems, str(path))
    document = tomlkit.parse(old)
    put(document, deployment, new=False)
    return tomlkit.dumps(document)


def put(table: Container | Table, part: Any, new: bool) -> None:
    """Bring one table in line with its part of the deployment."""
    import tomlkit

    for setting in fields(part):
        value = getattr(part, setting.name)
        if is_dataclass(value):
            inner = table.get(setting.name)
            if inner is not None:
                put(inner, value, new)
                continue
            inner = tomlkit.table()
            put(inner, value, new)
            if inner:
                table.add(setting.name, inner)
        else:
            put_value(table, setting, list(value) if isinstance(value, tuple) else value, new)


def put_value(table: Container | Table, setting: Field[Any], value: Any, new: bool) -> None:
    import tomlkit

    name, is_default = setting.name, value == plain_default(setting)
    if name in table:
        if table[name] == value:
            return  # with what people wrote beside it
        if is_default and not value and value is not False:
            table.remove(name)
        else:
            table[name] = value
    elif (new and setting.metadata["shown"]) or not (is_default or setting.default is MISSING):
        item = tomlkit.item(value)
        if comment := setting.metadata["doc"]:
            item.comment(comment)
            item.trivia.comment_ws = "  "
        table.add(name, item)


def plain_default(setting: Field[Any]) -> Any:
    return list(setting.default) if isinstance(setting.default, tuple) else setting.default
