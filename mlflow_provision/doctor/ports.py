"""From this machine to the server's port: through sshd, through the tunnel, or straight."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlsplit

from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, WARN, Finding, found
from mlflow_provision.doctor.way import transport_of
from mlflow_provision.ssh_target import bracketed

PATIENCE = 10.0  # seconds
PROHIBITED = 1  # of RFC 4254: the host does not want to, rather than cannot


def forwarding(case: Case) -> Finding:
    """Does sshd open a way to the port? Only a tunnel needs one."""
    from mlflow_provision.tunnel.route import needs_tunnel, remote_end

    if not needs_tunnel(case.deployment):
        return found("forwarding", SKIPPED, "no tunnel is needed")
    if not case.server_answers:
        return found("forwarding", SKIPPED, "the server does not answer on its host")
    case.begin("forwarding")
    transport = transport_of(case.host)
    if transport is None:
        return found("forwarding", SKIPPED, "it is not reached over SSH")
    address, _, port = remote_end(case.deployment).rpartition(":")
    return _opened(transport, address.strip("[]"), int(port))


def _opened(transport: Any, address: str, port: int) -> Finding:
    from paramiko import ChannelException, SSHException

    try:
        channel = transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=PATIENCE)
    except ChannelException as error:
        if error.code == PROHIBITED:
            return found("forwarding", BAD, f"sshd: {error.text or 'administratively prohibited'}")
        return found(
            "forwarding",
            BAD,
            f"sshd cannot reach {address} port {port}: {error.text}",
            "The server answers on its host, and not to sshd: a firewall of the host itself is in between.",
            "See its rules on the host: `sudo nft list ruleset`, `sudo iptables -S`",
        )
    except (SSHException, EOFError) as error:
        return found("forwarding", BAD, f"no answer from sshd: {error or 'it hung up'}")
    channel.close()
    return found("forwarding", OK, f"to {address} port {port}")


def tunnel(case: Case) -> Finding:
    """The tunnel of this deployment, if one is open on this machine."""
    from mlflow_provision.tunnel.registry import running_on
    from mlflow_provision.tunnel.route import needs_tunnel
    from mlflow_provision.tunnel.states import State

    case.begin("tunnel")
    status = running_on(case.deployment)
    if status is None:
        opens = f"none is open; mlflow-provision tunnel {case.deployment.name} opens one"
        return found("tunnel", SKIPPED, opens if needs_tunnel(case.deployment) else "none is needed")
    if status.state is not State.UP:
        said = f"{status.url}: {status.state.value}" + (f": {status.reason}" if status.reason else "")
        verdict = BAD if case.server_answers else SKIPPED
        return found("tunnel", verdict, said, remedy=status.hint)
    return _through(status.url, case.server_answers)


def _through(url: str, server_answers: bool) -> Finding:
    code, why = _health(url)
    if code == 200:
        return found("tunnel", OK, f"{url} answers")
    return found(
        "tunnel",
        BAD if server_answers else SKIPPED,
        f"{url}: {why}",
        "The tunnel is open, and nothing comes through it: its connection hangs.",
        "`mlflow-provision tunnel NAME --stop`, then `mlflow-provision tunnel NAME`",
    )


def reach(case: Case) -> Finding | None:
    """A server that listens for others: does it answer from here? None of one that does not."""
    from mlflow_provision.tunnel.route import direct_url, needs_tunnel

    if case.deployment.host == "local" or needs_tunnel(case.deployment):
        return None
    if not case.server_answers:
        return found("reach", SKIPPED, "the server does not answer on its host")
    case.begin("reach")
    url = direct_url(case.deployment)
    code, why = _health(url)
    if code:
        return found("reach", OK, f"{url} answers")
    return _by_its_real_name(case, url, why) or found("reach", BAD, f"{url}: {why}")


def _by_its_real_name(case: Case, url: str, why: str) -> Finding | None:
    """A name of ~/.ssh/config is one for ssh only: does the server answer by the name behind it?"""
    from mlflow_provision.host.settings import read_settings

    place = urlsplit(url)
    real = bracketed(read_settings(case.deployment.host, case.deployment.identity_file).hostname)
    if real in (place.hostname, f"[{place.hostname}]"):
        return None
    code, why_not = _health(f"http://{real}:{place.port}")
    if not code:
        return found("reach", BAD, f"{url}: {why}; http://{real}:{place.port}: {why_not}")
    return found(
        "reach",
        WARN,
        f"{url}: {why}; http://{real}:{place.port} answers",
        f"{place.hostname} is a name of ~/.ssh/config, which browsers and MLflow's clients do not read.",
        f"Give it a name in DNS, or use http://{real}:{place.port}; a public name or address has to be allowed: "
        f"`mlflow-provision setup NAME --allowed-host {real}`",
    )


def _health(url: str) -> tuple[int, str]:
    """The HTTP status of /health, or 0 and why there is none."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health", headers={"Connection": "close"})
        code = connection.getresponse().status
        return code, f"/health answers {code}"
    except TimeoutError:
        return 0, f"no answer within {PATIENCE:.0f} s"
    except http.client.HTTPException:
        return 0, "something answers that is not a web server"
    except OSError as error:
        return 0, (error.strerror or str(error)).lower()
    finally:
        connection.close()
