"""What doctor says of a host, and which of its checks the tests have made to fail for real."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec

from tests.e2e.operator import Operator
from tests.e2e.served import NAME

Parameters = ParamSpec("Parameters")
FINDS = "doctor_finds"  # the attribute of a test that says which checks it makes fail
_AMISS = ("bad", "warn")
_WEIGHT = ("ok", "skipped", "warn", "unknown", "bad")

_seen: set[str] = set()  # checks that found something during the test that runs


@dataclass(frozen=True)
class Examination:
    """The document of one `doctor --json`."""

    document: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.document.get("findings", [])
        return found

    def of(self, check: str) -> dict[str, Any]:
        """The worst finding of a check."""
        mine = [finding for finding in self.findings if finding["check"] == check]
        assert mine, f"{check} is not among {[finding['check'] for finding in self.findings]}"
        return max(mine, key=lambda finding: _WEIGHT.index(finding["verdict"]))

    def verdict(self, check: str) -> str:
        return str(self.of(check)["verdict"])

    @property
    def bad(self) -> set[str]:
        return self._with("bad")

    @property
    def warned(self) -> set[str]:
        return self._with("warn")

    @property
    def amiss(self) -> list[dict[str, Any]]:
        return [finding for finding in self.findings if finding["verdict"] in _AMISS]

    def _with(self, verdict: str) -> set[str]:
        return {finding["check"] for finding in self.findings if finding["verdict"] == verdict}


def examine(operator: Operator, *arguments: str, name: str = NAME, code: int | None = None) -> Examination:
    """Run doctor and remember what it found. Its exit code is 1 exactly when something is bad, or the one given; what
    is amiss says why, and what to do."""
    found = Examination(operator.json("doctor", name, *arguments, code=None))
    expected = int(bool(found.bad)) if code is None else code
    assert found.document["exit_code"] == expected, (found.document["error"], found.amiss)
    for finding in found.amiss:
        assert finding["evidence"] and finding["cause"] and finding["remedy"], finding
    before = Examination({"findings": found.document.get("findings_before", [])})  # --fix
    _seen.update(found.bad | found.warned | before.bad | before.warned)
    return found


def finds(*checks: str) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Of a test: it makes these checks fail for real, and doctor finds them. A test that only says so fails."""

    def decorate(test: Callable[Parameters, None]) -> Callable[Parameters, None]:
        @functools.wraps(test)
        def watched(*arguments: Parameters.args, **named: Parameters.kwargs) -> None:
            _seen.clear()
            test(*arguments, **named)
            assert set(checks) <= _seen, f"doctor did not find {sorted(set(checks) - _seen)}, only {sorted(_seen)}"

        setattr(watched, FINDS, checks)
        return watched

    return decorate


def found_by(module: Any) -> Iterator[str]:
    """The checks that the tests of a module make fail."""
    for name, value in vars(module).items():
        if name.startswith("test_"):
            yield from getattr(value, FINDS, ())
