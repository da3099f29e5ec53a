"""A small HTTP client: no proxies, no redirects, any Host header, bodies that stream."""

from __future__ import annotations

from mlflow_provision.agent.http.answer import NoAnswer, Response
from mlflow_provision.agent.http.client import Client
from mlflow_provision.agent.http.connections import Connections

__all__ = ["Client", "Connections", "NoAnswer", "Response"]
