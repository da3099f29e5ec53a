"""The way to the host, one hop after the other. It ends at the first that is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.catalog import CATALOG
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, UNKNOWN, Finding, found
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host, hops
from mlflow_provision.host.hops import HOPS, Broken

OVER_SSH = HOPS[: HOPS.index(hops.SUDO)]


def reach(case: Case, connect: Callable[[], Host]) -> bool:
    """Connect and ask for the facts of the host. False: it was not possible, and the findings say where it ended."""
    local = case.deployment.host == "local"
    passed = () if local else OVER_SSH
    try:
        case.begin(hops.NAME if not local else hops.PYTHON)
        case.host = connect()
        case.add(*(found(hop, OK, said) for hop, said in _seen(case).items()))
        case.begin(hops.PYTHON)
        _look(case)
    except Broken as error:
        case.add(*_until(error, passed if case.host else (), local))
        return False
    except ProvisionError as error:
        if error.code is ExitCode.INTERRUPTED:
            raise
        case.add(_otherwise(case, error))
        return False
    facts = case.facts
    if not local or case.deployment.scope == "system":
        case.add(found(hops.SUDO, OK, f"it runs as {facts['user']}"))
    case.add(found(hops.PYTHON, OK, f"Python {facts['python']['version']} ({facts['python']['path']})"))
    return True


def _look(case: Case) -> None:
    from mlflow_provision.provision import look

    case.facts, case.skew = look(case.reached, case.deployment)


def _until(error: Broken, told: tuple[str, ...], local: bool) -> list[Finding]:
    """The hops before the broken one are fine, and those after it were not tried. `told`: those that have a finding."""
    way = HOPS[HOPS.index(hops.SUDO) :] if local else HOPS
    broken = way.index(error.hop) if error.hop in way else 0
    after = found(error.hop, BAD, error.message, _cause(error), error.hint)
    before = [found(hop, OK) for hop in way[:broken] if hop not in told]
    return [*before, after, *(found(hop, SKIPPED, f"not tried: {error.hop} is broken") for hop in way[broken + 1 :])]


def _cause(error: Broken) -> str:
    """Of the two faces of a host key that is not the expected one: never seen, or another one than before."""
    if error.hop != hops.HOST_KEY or "unknown" in error.message:
        return ""
    return CATALOG[hops.HOST_KEY].rows[1].why


def _otherwise(case: Case, error: ProvisionError) -> Finding:
    """A failure that is not of the way: our settings before it, or our program at its end."""
    if case.host is None:
        return found(hops.NAME, BAD, error.message, "The deployment file or ~/.ssh/config is not right.", error.hint)
    said = f"{error.message}. {error.hint}" if error.hint else error.message
    return found(hops.PYTHON, UNKNOWN, said)


def _seen(case: Case) -> dict[str, str]:
    """What an open connection tells of each hop over SSH."""
    transport = transport_of(case.host)
    if transport is None:
        return {}
    from mlflow_provision.host.known_hosts import fingerprint
    from mlflow_provision.host.settings import read_settings

    settings = read_settings(case.deployment.host, case.deployment.identity_file)
    through = f"through {', '.join(settings.proxy_jump) or 'a ProxyCommand'}"
    direct = not settings.proxy_jump and not settings.proxy_command
    key = transport.get_remote_server_key()
    return {
        hops.NAME: f"{settings.hostname} is {_peer(transport)}" if direct else f"{settings.hostname}, {through}",
        hops.NETWORK: f"port {settings.port}" + ("" if direct else f", {through}"),
        hops.SSHD: str(transport.remote_version),
        hops.HOST_KEY: f"{key.get_name()} {fingerprint(key.asbytes())}",
        hops.LOGIN: f"as {transport.get_username()}",
    }


def transport_of(host: Host | None) -> Any:
    """Paramiko's end of the connection; None of a host that is reached otherwise."""
    from mlflow_provision.host import LocalHost

    if host is None or isinstance(host, LocalHost):
        return None
    from mlflow_provision.host.ssh import SshHost

    return host.open().transport if isinstance(host, SshHost) else None


def _peer(transport: Any) -> str:
    try:
        return str(transport.getpeername()[0])
    except OSError:
        return "an address that is gone again"
