"""Every kind of resource travels as JSON and arrives as what it was."""

from __future__ import annotations

import inspect
import json
from dataclasses import FrozenInstanceError, fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from mlflow_provision.agent import resources
from mlflow_provision.agent.resources import KINDS, from_json, to_json

EXAMPLES: dict[str, Any] = {
    "str": "text with \u2028, '\"$(id)` and \n",
    "int": 0o640,
    "bool": True,
    "tuple[str, ...]": ("a", "b"),
    "dict[str, Any]": {"name": "server", "hashes": {"/x": "y"}, "listed": ("a", ("b",))},
    "dict[str, tuple[str, str]]": {"x86_64": ("uv.whl", "abc"), "aarch64": ("uv2.whl", "def")},
}


def kind(name: str) -> Any:
    return getattr(import_module(f"{resources.__name__}.{KINDS[name]}"), name)


def example(name: str) -> Any:
    return kind(name)(**{field.name: EXAMPLES[str(field.type)] for field in fields(kind(name))})


@pytest.mark.parametrize("name", KINDS)
def test_there_and_back(name: str) -> None:
    resource = example(name)
    arrived = from_json(json.loads(json.dumps(to_json(resource))))
    assert type(arrived) is kind(name)
    assert arrived == resource


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_a_frozen_dataclass_with_a_title_check_and_apply(name: str) -> None:
    cls = kind(name)
    with pytest.raises(FrozenInstanceError):
        example(name).id = "another"
    assert "id" in get_type_hints(cls)
    assert isinstance(example(name).title, str)
    assert list(inspect.signature(cls.check).parameters) == ["self", "context"]
    assert list(inspect.signature(cls.apply).parameters) == ["self", "context"]


@pytest.mark.parametrize("name", KINDS)
def test_no_secret_shows_where_a_resource_is_printed(name: str) -> None:
    secret = {"password", "content", "secret_access_key", "session_token", "access_key_id"}
    hidden = {field.name for field in fields(kind(name)) if not field.repr}
    assert hidden == secret & {field.name for field in fields(kind(name))}


def test_every_resource_in_the_package_is_a_kind() -> None:
    written = {
        line.split()[1].split(":")[0].split("(")[0]
        for path in Path(resources.__file__).parent.glob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith("class ")
    }
    assert written - {"Change", "Context", "Resource"} == set(KINDS)


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError, match="Nothing"):
        from_json({"kind": "Nothing", "id": "x"})
