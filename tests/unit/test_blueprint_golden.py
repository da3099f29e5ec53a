"""Everything that setup puts on a host, written down for reading: whoever changes it sees what becomes of it."""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision import __version__
from mlflow_provision.agent.resources import Resource
from mlflow_provision.blueprint import blueprint, removal
from mlflow_provision.blueprint.resources import release_path
from mlflow_provision.config import Deployment
from mlflow_provision.layout import Layout
from tests.unit.hosts import CASES, SECRETS, facts

GOLDEN = Path(__file__).with_name("golden")
UPDATE = "MLFLOW_PROVISION_UPDATE_GOLDEN"
DESTROYED = ("local", "s3-keys", "backup-folder")
_OCTAL = ("mode",)
_LEFT_OUT = (
    "constraints",
    "wheels",
    "hashes",
    "store_proof",
    "backup_proof",
)  # pinned and computed: tests of their own look at these


def readable(resource: Resource) -> str:
    """A resource as lines: its kind and id, its fields, and below them the text of a file."""
    lines = [f"{type(resource).__name__} {resource.id}"]
    values = {field.name: getattr(resource, field.name) for field in dataclasses.fields(resource)}  # type: ignore[arg-type]
    content = values.pop("content", None)
    for name, value in values.items():
        if name == "facts":
            lines += [f"    {key} = {value[key]}" for key in sorted(value) if key not in _LEFT_OUT]
        elif name != "id" and name not in _LEFT_OUT and value not in ("", ()):
            lines += [f"    {name} = {shown(name, value)}"]
    lines += [f"    | {line}".rstrip() for line in (content or "").splitlines()]
    return "\n".join(lines)


def shown(name: str, value: Any) -> str:
    if name in _OCTAL:
        return f"{value:04o}"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def written(deployment: Deployment) -> str:
    host = facts(deployment)
    resources = blueprint(deployment, SECRETS, host, "ada@laptop")
    text = "\n\n".join(map(readable, resources)) + "\n"
    release = release_path(Layout(deployment, Path(host["root"]["path"]))).name  # type: ignore[arg-type]
    text = text.replace(f'"tool_version": "{__version__}"', '"tool_version": "<ours>"')
    return text.replace(release, "<release>").replace(f"tool_version = {__version__}", "tool_version = <ours>")


def taken_away(deployment: Deployment) -> str:
    host = facts(deployment)
    parts = [
        f"--- {'with' if delete_data else 'without'} --delete-data\n\n"
        + "\n\n".join(map(readable, removal(deployment, host, delete_data)))
        for delete_data in (False, True)
    ]
    return "\n\n".join(parts) + "\n"


def compare(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get(UPDATE):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    expected = path.read_text() if path.exists() else ""
    diff = difflib.unified_diff(expected.splitlines(), text.splitlines(), str(path), "now", lineterm="")
    assert text == expected, (
        "\n".join(diff) + f"\n\nIf this is meant, write it down with: {UPDATE}=1 pytest {Path(__file__).name}"
    )


@pytest.mark.parametrize("name", CASES)
def test_what_a_host_must_look_like(name: str) -> None:
    compare(name, written(CASES[name]))


@pytest.mark.parametrize("name", DESTROYED)
def test_what_destroy_takes_away(name: str) -> None:
    compare(f"destroy-{name}", taken_away(CASES[name]))


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == {*CASES, *(f"destroy-{name}" for name in DESTROYED)}
