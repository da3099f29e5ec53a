"""How findings look: what is wrong with its evidence, cause and remedy; what is fine as a count."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from mlflow_provision.console.text import duration, plural
from mlflow_provision.doctor.catalog import GROUPS
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, UNKNOWN, WARN, Finding, amiss, bad

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.doctor.case import Case

_MARKS = {OK: "ok", BAD: "BAD", WARN: "look", SKIPPED: "-", UNKNOWN: "?"}
_STYLES = {OK: "", BAD: "bad", WARN: "strong", SKIPPED: "faint", UNKNOWN: "strong"}
_SHOWN = (BAD, WARN, UNKNOWN)
_INDENT = " " * 8
_NARROWEST = 40


def say_findings(console: Console, case: Case, everything: bool) -> None:
    """Group by group, in the order in which it was looked."""
    console.home = case.facts["home"] if case.facts and case.deployment.scope == "user" else ""
    for group in GROUPS:
        findings = [finding for finding in case.findings if finding.group == group]
        if not findings:
            continue
        quiet = not everything and not any(finding.verdict in _SHOWN for finding in findings)
        console.say(f"{group}: {_tally(findings)}", "" if quiet else "strong")
        for finding in findings:
            if everything or finding.verdict in _SHOWN:
                _say(console, finding)


def _tally(findings: list[Finding]) -> str:
    """`7 checks, 1 bad`."""
    counts = Counter(finding.verdict for finding in findings)
    looked = len(findings) - counts[SKIPPED]
    names = {BAD: "bad", WARN: "to look at", UNKNOWN: "not possible"}
    parts = [f"{counts[verdict]} {name}" for verdict, name in names.items() if counts[verdict]]
    told = ", ".join([plural(looked, "check"), *(parts or (["fine"] if looked else []))])
    return told if not counts[SKIPPED] else f"{told} ({counts[SKIPPED]} skipped)"


def _say(console: Console, finding: Finding) -> None:
    mark = f"{_MARKS[finding.verdict]:<6}"
    if finding.verdict not in _SHOWN:
        seen = console.shortened(" ".join(finding.evidence.split()))
        console.say(f"  {mark}{finding.title}" + (f"  {seen}" if seen else ""), _STYLES[finding.verdict])
        return
    console.say(f"  {mark}{finding.headline}", _STYLES[finding.verdict])
    parts = (("saw", finding.evidence), ("why", finding.cause), ("do", finding.remedy))
    for label, text in parts:
        for number, line in enumerate(_lines(console.shortened(text))):
            console.say(f"{_INDENT}{label if number == 0 else '':<5}{line}")


def _lines(text: str) -> list[str]:
    """Wrapped where somebody reads; a command in the text stays in one piece, so that it can be copied."""
    width = shutil.get_terminal_size().columns - len(_INDENT) - 6 if sys.stdout.isatty() else 0
    found: list[str] = []
    for line in text.splitlines():
        if width < _NARROWEST:
            found.append(line.replace("`", ""))
            continue
        pieces = line.split("`")
        pieces[1::2] = [piece.replace(" ", "\0") for piece in pieces[1::2]]
        wrapped = textwrap.wrap("".join(pieces), width, break_long_words=False, break_on_hyphens=False)
        found += [part.replace("\0", " ") for part in wrapped]
    return found


def say_verdict(console: Console, case: Case, asked_to_fix: bool) -> None:
    """The last line: is it well, and what next?"""
    name = case.deployment.name
    wrong, notable = len(bad(case.findings)), len(amiss(case.findings)) - len(bad(case.findings))
    checks = sum(finding.verdict != SKIPPED for finding in case.findings)
    console.say()
    if not wrong:
        more = f", {plural(notable, 'thing')} to look at" if notable else ""
        console.say(f"{name} is well: {plural(checks, 'check')}{more}, {duration(console.seconds)}.", "good")
    else:
        more = f", and {plural(notable, 'thing')} to look at" if notable else ""
        console.say(f"{plural(wrong, 'thing')} wrong with {name}{more}.", "bad")
    curable = sum(bool(finding.fix) for finding in amiss(case.findings))
    if curable and not asked_to_fix:
        both = wrong + notable
        which = "it" if curable == both == 1 else "all of it" if curable == both else f"{curable} of them"
        console.say(f"It can put {which} right: mlflow-provision doctor {name} --fix")
