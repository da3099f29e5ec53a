"""The whole examination: the way to the host, the host, and the way to the server's port."""

from __future__ import annotations

from collections.abc import Callable

from mlflow_provision.doctor import firewall, ports
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.drift import drift
from mlflow_provision.doctor.host_checks import clocks, of_the_host
from mlflow_provision.doctor.secrets import have_secrets, is_strong
from mlflow_provision.doctor.way import reach
from mlflow_provision.host import Host
from mlflow_provision.host.hops import NETWORK


def diagnose(case: Case, connect: Callable[[], Host]) -> None:
    """Fill the case with findings. What is behind a broken hop is not tried."""
    case.add(have_secrets(case), is_strong(case))
    if not reach(case, connect):
        if case.wrong(NETWORK):
            case.add(firewall.shuts_out(case))
        return
    examine(case)


def examine(case: Case) -> None:
    """All that needs the host, which is reached."""
    case.add(clocks(case), *of_the_host(case))
    case.add(drift(case), ports.forwarding(case), ports.tunnel(case), firewall.exposed(case))
    if found := ports.reach(case):
        case.add(found)


def again(case: Case) -> Case:
    """The same deployment, examined anew over the connection that is open."""
    from mlflow_provision.provision import look

    fresh = Case(case.deployment, case.path, case.look_at, case.host)
    fresh.add(have_secrets(fresh), is_strong(fresh))
    fresh.add(*(one for one in case.findings if one.check in ("name", "network", "sshd", "host-key", "ssh-login")))
    fresh.add(*(one for one in case.findings if one.check in ("sudo", "python")))
    fresh.facts, fresh.skew = look(case.reached, case.deployment)
    examine(fresh)
    return fresh
