"""Venvs of packages with pinned versions: releases of MLflow, and tools."""

from __future__ import annotations

from pathlib import PurePosixPath

from mlflow_provision.agent.resources.release import Release
from mlflow_provision.layout import Layout
from mlflow_provision.requirements import SUPPORTED_PYTHON


def venv(
    layout: Layout, id: str, path: PurePosixPath, requirements: tuple[str, ...], constraints: tuple[str, ...] = ()
) -> Release:
    """One, made by uv from the package index of the deployment."""
    return Release(
        id=id,
        path=str(path),
        uv=str(layout.uv),
        requirements=requirements,
        constraints=constraints,
        python=SUPPORTED_PYTHON,
        pythons=str(layout.pythons),
        cache=str(layout.cache or ""),
        index_url=layout.deployment.mlflow.index_url,
    )
