"""`doctor --fix`: show what would be put right, ask, do it, look again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mlflow_provision.agent.protocol import CHANGED, FAILED
from mlflow_provision.cli.doctor_shown import say_findings
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.planned import asked, say_plan, unasked
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.doctor.case import Case
    from mlflow_provision.doctor.fixing import Treatment


def fixed(console: Console, case: Case, yes: bool, everything: bool) -> Case:
    """The deployment as it is afterwards: examined again if anything was done, else as it was."""
    from mlflow_provision.doctor.diagnosis import again
    from mlflow_provision.doctor.fixing import treatment

    case = _closed(console, case, yes)
    if not case.facts:
        return case
    found = treatment(case)
    if found.refused:
        console.note(f"files and services cannot be put right: {found.refused}")
    if found.empty:
        return case
    console.say()
    console.say("To be put right:", "strong")
    for finding in found.findings:
        console.say(f"  * {finding.headline}")
    shown = _plan_shown(console, case, found)
    if not _agreed(console, f"Put {plural(len(found.findings), 'finding')} right?", yes):
        console.say("Nothing was changed.")
        return case
    console.document.details.setdefault("findings_before", [finding.as_json() for finding in case.findings])
    _carry_out(console, case, found, shown, yes)
    console.say()
    console.say("Looking again", "strong")
    try:
        after = again(case)
    finally:
        console.still()
    say_findings(console, after, everything)
    return after


def _closed(console: Console, case: Case, yes: bool) -> Case:
    """The secrets file on this machine comes first: without it nobody knows what the host should be like."""
    from mlflow_provision.doctor.catalog import CLOSE
    from mlflow_provision.doctor.diagnosis import again
    from mlflow_provision.doctor.secrets import close

    if not any(finding.fix == CLOSE for finding in case.findings):
        return case
    console.say()
    if not _agreed(console, "Close the secrets file on this machine to others?", yes):
        return case
    console.document.details["findings_before"] = [finding.as_json() for finding in case.findings]
    close(case)
    console.say("  the secrets file is closed to others")
    if not case.facts:
        return case
    try:
        return again(case)
    finally:
        console.still()


def _plan_shown(console: Console, case: Case, found: Treatment) -> bool:
    """What setup's part of it would change. False: that cannot be seen before the host has put right the rest."""
    from mlflow_provision.doctor.fixing import planned

    if not found.resources:
        return True
    try:
        with console.busy("Comparing"):
            results = console.steps(planned(case, found), shown=())
    except ProvisionError as error:
        if not found.mend or error.code is ExitCode.INTERRUPTED:
            raise
        console.say(f"What setup would change is seen when its files are put right: {error.message}")
        return False
    say_plan(console, results, diffs=False)
    return True


def _agreed(console: Console, question: str, yes: bool) -> bool:
    if yes:
        return True
    if not console.asks:
        raise unasked("put it right", "do it")
    return asked(console, lambda: click.confirm(question, err=True))


def _carry_out(console: Console, case: Case, found: Treatment, shown: bool, yes: bool) -> None:
    from mlflow_provision.doctor.fixing import applied, mended, started

    with stoppable(console, case.reached):
        if found.mend:
            with console.busy("Putting right"):
                done = mended(case, found.mend)
            for what in done.values():
                console.say(f"  {what}")
    if not shown and (
        not _plan_shown(console, case, replace(found, mend=())) or not _agreed(console, "Apply it?", yes)
    ):
        return
    with stoppable(console, case.reached):
        if found.resources:
            console.steps(applied(case, found), shown=(CHANGED, FAILED))
        if found.start:
            with console.busy(f"Starting {case.deployment.name}"):
                status = started(case)
            console.say("  started" if status["healthy"] else f"  it does not start: {status['problem']}")
