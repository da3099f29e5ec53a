"""The verdict on a server: the end of every setup, and all of `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_provision.agent.protocol import FAILED
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.console import EVERYTHING
from mlflow_provision.console.text import plural
from mlflow_provision.errors import ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.provision import Prepared


def verified(console: Console, host: Host, prepared: Prepared, level: str, kill: bool = True) -> None:
    """Show what is found, and raise if anything is not as it should be. A quick look shows only that."""
    from mlflow_provision.provision import verify

    if level == "full":
        console.say("Verifying", "strong")
    with stoppable(console, host):
        events = verify(host, prepared, level, kill)
        results = console.verdicts(events, EVERYTHING if level == "full" else (FAILED,))
    failed = [result for result in results if result.verdict == FAILED]
    if failed:
        raise ProvisionError(
            f"{plural(len(failed), 'check')} of {len(results)} failed: {', '.join(result.title for result in failed)}",
            f"see how it is: mlflow-provision status {prepared.deployment.name}",
        )
