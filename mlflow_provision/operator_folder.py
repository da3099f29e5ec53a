"""Folders on this machine as places for backups: what the host asks is carried out there and nowhere else."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow_provision.agent.backup.stores.base import KIND
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.backup.stores.operator import CALL, PIECE
from mlflow_provision.agent.backup.stores.unfinished import UnfinishedFile
from mlflow_provision.agent.protocol import AgentError

_PAGE = 500  # entries of a list in one answer


class OperatorFolder:
    """Answers the agent's OperatorStore with what is below `folder`/`deployment`; a `reply` for `Host.request`.

    The host is not trusted: it names objects, never folders, and gets no more than a piece at once.
    """

    def __init__(self, folder: Path, deployment: str) -> None:
        self.place = str(folder)
        self._store = FolderStore(str(folder.expanduser().absolute() / deployment))
        self._store.sweep()
        self._writers: dict[int, tuple[str, UnfinishedFile]] = {}
        self._begun = 0
        self._operations: dict[str, Callable[..., dict[str, Any]]] = {
            "begin": self._begin,
            "write": self._write,
            "finish": self._finish,
            "discard": self._discard,
            "piece": self._piece,
            "list": self._list,
            "delete": self._delete,
        }

    def __call__(self, call: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Raises AgentError: for the host, to be told there."""
        try:
            return self._done(call, **arguments)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AgentError(f"the host asks for something senseless: {error!r}", kind=KIND) from None
        except AgentError as error:  # the folder's words are about the machine it is on, and that is not the host
            hint = error.hint.replace("on the host", "on this machine")
            raise AgentError(f"on this machine, not on the host: {error.message}", hint, error.kind) from None

    def _done(self, call: str, place: str, op: str, **arguments: Any) -> dict[str, Any]:
        if call != CALL or place != self.place:
            raise AgentError(f"{call} in {place} was not offered", kind=KIND)
        return self._operations[op](**arguments)

    def close(self) -> None:
        """The request is over: what was begun and not finished goes."""
        for number in [*self._writers]:
            self._discard(number)

    def _begin(self, key: str) -> dict[str, Any]:
        file = self._store.begin(key)
        self._begun += 1
        self._writers[self._begun] = (key, file)
        return {"writer": self._begun}

    def _write(self, writer: int, data: str) -> dict[str, Any]:
        _, file = self._writers[writer]
        file.write(base64.b64decode(data))
        return {}

    def _finish(self, writer: int) -> dict[str, Any]:
        _, file = self._writers[writer]
        file.finish()
        del self._writers[writer]
        return {}

    def _discard(self, writer: int) -> dict[str, Any]:
        if writer in self._writers:
            self._store.discard(*self._writers.pop(writer))
        return {}

    def _piece(self, key: str, offset: int) -> dict[str, Any]:
        data, size = self._store.piece(key, offset, PIECE)
        return {"data": base64.b64encode(data).decode(), "size": size}

    def _list(self, prefix: str, after: str) -> dict[str, Any]:
        rest = (entry for entry in self._store.list(prefix) if entry.key > after)
        page = heapq.nsmallest(_PAGE, rest, key=lambda entry: entry.key)
        return {"entries": [[entry.key, entry.size, entry.modified] for entry in page]}

    def _delete(self, keys: list[str]) -> dict[str, Any]:
        self._store.delete(keys)
        return {}
