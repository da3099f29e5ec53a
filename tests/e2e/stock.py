"""A host that is blank but for the release of MLflow that setup would install: most of a setup is the time it takes."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from mlflow_provision.agent import release_program, resources
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION
from tests.e2e.operator import Operator, on
from tests.e2e.served import NAME
from tests.lab import LabHost
from tests.lab.claims import hosts_dir
from tests.lab.image import Image, build
from tests.lab.layers import Base, layers_in_use
from tests.lab.places import delete_tree, exclusive, lab_dir

ROOT = "opt/mlflow"


def stocked() -> Base:
    """Made by a real setup, once for all test processes, as long as what a setup installs stays the same."""
    image = build(Image())
    folder = image.with_name(f"stocked-{_key(image)}")
    if not folder.exists():
        with exclusive(image.with_name("stocked.lock")):
            if not folder.exists():
                _make(folder)
    return Base(folder, image)


def _key(image: Path) -> str:
    code = [release_program.__file__, *map(str, sorted(Path(resources.__file__).parent.glob("*.py")))]
    parts = [image.name, DEFAULT_MLFLOW_VERSION, *(Path(path).read_text() for path in code)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _make(folder: Path) -> None:
    for older in set(folder.parent.glob("stocked-*")) - layers_in_use(hosts_dir()):
        delete_tree(older)
    with tempfile.TemporaryDirectory() as home, LabHost() as host:
        Operator(Path(home), host.ssh_config).run("setup", on(host), "--name", NAME, "--yes")
        snapshot = host.snapshot()
    try:
        partial = lab_dir() / "stocked.partial"
        delete_tree(partial)
        (partial / ROOT).parent.mkdir(parents=True)
        made = (snapshot.folder / "upper" / ROOT).rename(partial / ROOT)
        delete_tree(made / NAME)
        (made / "audit.jsonl").unlink(missing_ok=True)
        partial.rename(folder)
    finally:
        snapshot.remove()
