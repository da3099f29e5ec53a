"""What was answered so far, and the file that keeps it until the setup is done."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlflow_provision.config import Deployment, Secrets, changed, config_dir
from mlflow_provision.config.files import delete, explained, write_whole
from mlflow_provision.errors import ExitCode, ProvisionError

DEFAULT_NAME = "server"
MODE = 0o600


@dataclass
class Answers:
    """Answers by the key of the deployment file that they set. `done` are the ids of the questions behind them.

    Typed secrets are never kept: whoever resumes types them again.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    adopt: bool = False
    notes: dict[str, str] = field(default_factory=dict)  # answers that are no key: the AWS profile to look with, …
    base: Deployment | None = None  # the deployment that is changed; None: a new one
    secrets: Secrets = field(default_factory=Secrets)

    @property
    def host(self) -> str:
        return str(self.keys.get("host", ""))

    @property
    def deployment(self) -> Deployment:
        """The answers as a deployment; what was not asked yet has its default."""
        blank = Deployment(DEFAULT_NAME, self.host or "local")
        return changed(self.base or blank, self.keys)

    def put(self, **keys: Any) -> None:
        """Set keys; `artifacts__region` stands for artifacts.region."""
        self.keys |= {key.replace("__", "."): value for key, value in keys.items()}

    def drop(self, section: str) -> None:
        """Forget all keys of a section, and let those of an existing deployment go back to their defaults."""
        self.keys = {key: value for key, value in self.keys.items() if not key.startswith(f"{section}.")}
        if self.base:
            self.base = replace(self.base, **{section: type(getattr(self.base, section))()})


def kept_path() -> Path:
    """Beside the deployments, and none of them."""
    return config_dir() / "setup.answers.json"


def keep(answers: Answers) -> None:
    """Write the answers down for `setup --resume`."""
    document = {
        "keys": answers.keys,
        "done": sorted(answers.done),
        "adopt": answers.adopt,
        "notes": answers.notes,
        "base": answers.base.name if answers.base else "",
    }
    write_whole(kept_path(), json.dumps(document, indent=2) + "\n", MODE)


def kept() -> Answers:
    """The answers of an interrupted setup; raises ProvisionError where there are none."""
    from mlflow_provision.config import find, load

    path = kept_path()
    if not path.exists():
        raise ProvisionError("there is no interrupted setup to resume", "start one: mlflow-provision setup")
    with explained(path, "read"):
        text = path.read_text()
    try:
        document = json.loads(text)
        answers = Answers(
            keys={key: tuple(value) if isinstance(value, list) else value for key, value in document["keys"].items()},
            done=set(document["done"]),
            adopt=document["adopt"],
            notes=document["notes"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProvisionError(f"{path} is damaged", "start anew: mlflow-provision setup", ExitCode.USAGE) from None
    if document["base"]:
        answers.base = load(find(document["base"]))
    return answers


def forget_kept() -> None:
    delete(kept_path())
