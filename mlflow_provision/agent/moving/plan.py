"""What a move is about: every row whose place is not under the proxy, what it will say, and what has to be copied."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Callable, Container, Iterator

from mlflow_provision.agent.databases import contents
from mlflow_provision.agent.moving.names import PROXIED, Spot, has_place, inside, proxied, spot

EXPERIMENT, RUN, MODEL, TRACE, VERSION, WORKSPACE = (
    "experiment",
    "run",
    "logged model",
    "trace",
    "model version",
    "workspace",
)
_EXAMPLES = 3


@dataclass(frozen=True)
class Unit:
    """What belongs together: the artifacts of one run, model or trace. `to` is their path below the server's own;
    `copied`: they are elsewhere today, and copied there."""

    kind: str
    id: str
    source: Spot
    to: str
    copied: bool


@dataclass(frozen=True)
class Row:
    """A value that changes, by the number SQLite has for its row."""

    table: str
    column: str
    rowid: int
    old: str
    new: str
    to: str  # of the unit that must be there first; "" for none


@dataclass
class Plan:
    """`left`: why something stays as it is → the places, a few of them by name."""

    units: list[Unit] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unprotected: int = 0  # units whose path does not begin with the number of their experiment

    def ready(self, copied: Container[str]) -> list[Row]:
        """The rows that change when the units with these paths have been copied."""
        return [row for row in self.rows if not row.to or row.to in copied]

    def counts(self, copied: Container[str]) -> dict[str, int]:
        """How many rows of each table change then."""
        found: dict[str, int] = defaultdict(int)
        for row in self.ready(copied):
            found[row.table] += 1
        return dict(found)


# Says of a place of this host why nothing can be read there; "" when it can.
Readable = Callable[[Spot, Spot], str]


def plan(connection: sqlite3.Connection, target: Spot, why_not: Readable) -> Plan:
    """Everything in a tracking database that names a place outside of the proxy. `target` is where the server keeps
    artifacts; `why_not` hears a place and that of its experiment."""
    return _Planner(connection, target, why_not).plan()


class _Planner:
    def __init__(self, connection: sqlite3.Connection, target: Spot, why_not: Readable) -> None:
        self._connection, self._target, self._why_not = connection, target, why_not
        self._plan = Plan()
        self._experiments: dict[str, Spot | None] = {}
        self._known: dict[Spot, str] = {}  # a place → its path below the server's artifacts

    def plan(self) -> Plan:
        for rowid, uri, number in self._rows("experiments", "artifact_location", "experiment_id"):
            place = spot(uri) if has_place(uri) else None
            self._experiments[str(number)] = place
            self._row("experiments", "artifact_location", rowid, uri, EXPERIMENT, str(number), str(number), str(number))
        for rowid, uri, run, number in self._rows("runs", "artifact_uri", "run_uuid", "experiment_id"):
            self._row("runs", "artifact_uri", rowid, uri, RUN, run, f"{number}/{run}/artifacts", str(number))
        for rowid, uri, id, number in self._rows("logged_models", "artifact_location", "model_id", "experiment_id"):
            to = f"{number}/models/{id}/artifacts"
            self._row("logged_models", "artifact_location", rowid, uri, MODEL, id, to, str(number))
        for rowid, uri, id, number in self._traces():
            to = f"{number}/traces/{id}/artifacts"
            self._row("trace_tags", "value", rowid, uri, TRACE, id, to, str(number))
        self._versions()
        for rowid, uri, name in self._rows("workspaces", "default_artifact_root", "name"):
            self._row("workspaces", "default_artifact_root", rowid, uri, WORKSPACE, str(name), "", "")
        return self._plan

    def _rows(self, table: str, column: str, *more: str) -> Iterator[tuple[Any, ...]]:
        if {column, *more} <= set(contents.columns(self._connection, table)):
            names = ", ".join(f'"{name}"' for name in (column, *more))
            query = f'SELECT rowid, {names} FROM "{table}" WHERE "{column}" != \'\' ORDER BY rowid'  # noqa: S608 - names of ours
            yield from self._connection.execute(query).fetchall()

    def _traces(self) -> Iterator[tuple[Any, ...]]:
        if contents.columns(self._connection, "trace_tags") and contents.columns(self._connection, "trace_info"):
            query = (
                "SELECT trace_tags.rowid, trace_tags.value, trace_tags.request_id, trace_info.experiment_id "
                "FROM trace_tags JOIN trace_info USING (request_id) WHERE trace_tags.key = ? ORDER BY trace_tags.rowid"
            )
            yield from self._connection.execute(query, (contents.TRACE_PLACE,)).fetchall()

    def _versions(self) -> None:
        """Versions of registered models: mostly inside of what a run or a logged model has."""
        experiments = {}
        if contents.columns(self._connection, "runs"):
            experiments = dict(self._connection.execute("SELECT run_uuid, experiment_id FROM runs").fetchall())
        for column in contents.PLACES["model_versions"]:
            for rowid, uri, name, version, run in self._rows("model_versions", column, "name", "version", "run_id"):
                place = spot(uri) if has_place(uri) else None
                known = self._within(place) if place else None
                if known is not None and place and inside(place, self._target) is None:
                    to, rest = known
                    new = proxied("/".join(part for part in (to, rest) if part))
                    if new:
                        self._plan.rows.append(Row("model_versions", column, rowid, uri, new, to))
                        continue
                number = experiments.get(run)
                to = f"{number}/registered/" if number is not None else "registered/"
                to += f"{_file_name(name)}/{version}"
                experiment = str(number) if number is not None else ""
                self._row("model_versions", column, rowid, uri, VERSION, f"{name} {version}", to, experiment)

    def _within(self, place: Spot) -> tuple[str, str] | None:
        """The unit that a place is inside of, and where in it."""
        path, rest = place.path, ""
        while path:
            to = self._known.get(Spot(place.bucket, path))
            if to is not None:
                return to, rest
            path, _, last = path.rpartition("/")
            rest = f"{last}/{rest}".rstrip("/")
        return None

    def _row(self, table: str, column: str, rowid: int, uri: str, kind: str, id: str, to: str, experiment: str) -> None:
        if not has_place(uri):
            return
        place = spot(uri)
        if place is None:
            self._plan.left[_foreign(uri)].append(uri)
            return
        relative = inside(place, self._target)
        new = proxied(relative) if relative is not None else None
        copies = kind not in (EXPERIMENT, WORKSPACE)
        if new is not None:
            if copies:
                self._plan.units.append(Unit(kind, id, place, relative or "", False))
                self._plan.unprotected += bool(experiment) and not f"{relative}/".startswith(f"{experiment}/")
            self._plan.rows.append(Row(table, column, rowid, uri, new, ""))
            return
        why = self._why_not(place, self._experiments.get(experiment) or place)
        if why:
            self._plan.left[why].append(uri)
            return
        if copies:
            self._plan.units.append(Unit(kind, id, place, to, True))
            self._known[place] = to
        self._plan.rows.append(Row(table, column, rowid, uri, PROXIED + to, to if copies else ""))


def _foreign(uri: str) -> str:
    scheme = uri.partition(":")[0]
    if scheme == "mlflow-artifacts":
        return "served by another server"
    if ":" in uri and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return f"in a store that cannot be read from here ({scheme}:)"
    return "a path that is not absolute: nobody knows which folder it began in"


def _file_name(name: str) -> str:
    """The name of a model as that of a folder: two models never have the same."""
    simple = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if simple == name and set(name) != {"."}:
        return name
    return f"{simple[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def left_in_words(left: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The same for an answer: `why`, how many (`count`), and a few `examples`."""
    return [
        {"why": why, "count": len(uris), "examples": sorted(set(uris))[:_EXAMPLES]}
        for why, uris in sorted(left.items())
    ]
