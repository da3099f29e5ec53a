"""One comparison, its target, and how both are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Comparison:
    """`ours` against `reference`, both in `unit`; the target is a ratio of the two."""

    part: str
    what: str
    ours: float
    reference: float
    unit: str
    target: float
    at_most: bool = True
    detail: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.reference if self.reference else float("inf")

    @property
    def passed(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def as_text(comparison: Comparison) -> str:
    """A heading and its numbers, for people."""
    sign = "at most" if comparison.at_most else "at least"
    verdict = "PASS" if comparison.passed else "MISS"
    lines = [
        f"{verdict}  {comparison.part}: {comparison.what}",
        f"      ratio {comparison.ratio:.2f} (target: {sign} {comparison.target:g})"
        f"   ours {comparison.ours:.4g} {comparison.unit}, reference {comparison.reference:.4g} {comparison.unit}",
    ]
    return "\n".join(lines + ([f"      {comparison.detail}"] if comparison.detail else []))


def as_json(comparisons: Iterable[Comparison]) -> str:
    """All of them, for programs."""
    entries = [{**asdict(one), "ratio": round(one.ratio, 4), "passed": one.passed} for one in comparisons]
    return json.dumps(entries, indent=2)


def tell(comparisons: Iterable[Comparison], for_programs: bool) -> int:
    """Show each as soon as it is measured, and all of them as JSON at the end where that is wanted. The exit code."""
    told = []
    for comparison in comparisons:
        told.append(comparison)
        print(as_text(comparison), file=sys.stderr if for_programs else sys.stdout, flush=True)
    if for_programs:
        print(as_json(told))
    return 0 if all(comparison.passed for comparison in told) else 1
