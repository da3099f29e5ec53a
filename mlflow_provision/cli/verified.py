"""The verdict on a server: the end of every setup, and all of `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_provision.agent.protocol import FAILED, Result
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.console import EVERYTHING
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.provision import Prepared


def verified(console: Console, host: Host, prepared: Prepared, kill: bool) -> None:
    """Prove that it works and show every check; raise if one failed."""
    from mlflow_provision.provision import verify

    console.say("Verifying", "strong")
    with stoppable(console, host):
        _judge(console.verdicts(verify(host, prepared, kill=kill), EVERYTHING), prepared)


def looked_at(console: Console, prepared: Prepared, checks: list[Result]) -> None:
    """What a quick look found: show only what is wrong, and raise if anything is."""
    _judge(console.verdicts(checks, (FAILED,)), prepared)


def _judge(results: list[Result], prepared: Prepared) -> None:
    failed = [result for result in results if result.verdict == FAILED]
    if failed:
        raise ProvisionError(
            f"{plural(len(failed), 'check')} of {len(results)} failed: {', '.join(result.title for result in failed)}",
            f"see how it is: mlflow-provision status {prepared.deployment.name}",
        )
