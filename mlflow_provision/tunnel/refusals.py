"""Why an `ssh` ended, from what it said: what can be waited for, and what only a person can mend."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow_provision.tunnel.states import State

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

_NOISE = re.compile(r"^(debug\d: |Transferred: |Bytes per second: |Authenticated to |OpenSSH_|\s*$|@)")
_PORT = re.compile(
    r"bind \[?[\w.:]+\]?:(\d+): (Address already in use|Permission denied)|cannot listen to port: (\d+)", re.I
)
_REFUSED = re.compile(r"Permission denied \(|Too many authentication failures|No more authentication methods|no mutual")
_HOST_KEY = re.compile(r"Host key verification failed")
_CHANGED = re.compile(r"REMOTE HOST IDENTIFICATION HAS CHANGED|POSSIBLE DNS SPOOFING|forwarding is disabled to avoid")
_CONFIG = re.compile(r"Bad configuration option|terminating, \d+ bad|Bad owner or permissions|Can't open user config")
_GONE = (  # what ssh says → what people say
    (re.compile(r"Could not resolve hostname|Name or service not known"), "its name is not known to DNS"),
    (re.compile(r"Connection refused"), "nothing answers on its SSH port"),
    (re.compile(r"Connection timed out|Operation timed out|timed out during banner"), "it does not answer"),
    (re.compile(r"No route to host|Network is unreachable"), "there is no way to it"),
    (re.compile(r"Timeout, server .* not responding"), "the link was lost"),
    (re.compile(r"Connection (closed|reset)|closed by remote host|Broken pipe|kex_exchange"), "it hung up"),
)


@dataclass(frozen=True)
class Ending:
    """`WAITING` means: try again."""

    state: State
    reason: str
    hint: str = ""


def why_it_ended(said: Sequence[str], deployment: Deployment, port: int, asks: bool) -> Ending:
    """Reads stderr of an ssh that is over."""
    text = "\n".join(said)
    host = deployment.host
    if _CHANGED.search(text):
        return Ending(
            State.HOST_KEY,
            f"{host} is not the host we know: its SSH key has changed",
            "somebody may be in between. If you know why it changed, remove the old one: "
            f"ssh-keygen -R {shlex.quote(_known_as(said) or 'HOST')}",
        )
    if _HOST_KEY.search(text):
        return Ending(State.HOST_KEY, f"the SSH key of {host} is not known on this machine", _once(deployment, asks))
    if found := _PORT.search(text):
        return _taken(int(found[1] or found[3]), port, deployment)
    if _REFUSED.search(text):
        return _refused(text, deployment, asks)
    if _CONFIG.search(text):
        return Ending(State.FAILED, f"ssh does not take its configuration: {last_word(said)}", f"ssh -G {host}")
    if "forwarding failed" in text.lower() or "administratively prohibited" in text:
        return Ending(State.FAILED, f"{host} does not let us forward a port: {last_word(said)}", _forwarding(host))
    for pattern, words in _GONE:
        if pattern.search(text):
            return Ending(State.WAITING, f"{host}: {words}")
    return Ending(State.WAITING, f"{host}: ssh ended: {last_word(said)}")


def prohibited(deployment: Deployment) -> Ending:
    """The host lets us in, and opens no way to the server."""
    host = deployment.host
    return Ending(State.FAILED, f"{host} does not let us forward a port", _forwarding(host))


def last_word(said: Sequence[str]) -> str:
    """The last line that is for people."""
    return next((line.strip() for line in reversed(said) if not _NOISE.match(line)), "no reason was given")


def _forwarding(host: str) -> str:
    return f"set AllowTcpForwarding yes in /etc/ssh/sshd_config on {host}"


def _refused(text: str, deployment: Deployment, asks: bool) -> Ending:
    locked = not asks and "Server accepts key" in text
    if locked:
        what = f"the SSH key of {deployment.host} has a passphrase, and nobody is there to type it"
        return Ending(
            State.REFUSED, what, f"give it to the agent: ssh-add {shlex.quote(deployment.identity_file)}".rstrip(" '")
        )
    what = f"{deployment.host} does not let us in: {last_word(text.splitlines())}"
    return Ending(State.REFUSED, what, "see which keys are offered: " + _by_hand(deployment))


def _once(deployment: Deployment, asks: bool) -> str:
    if asks:
        return f"compare its fingerprint with that of the host, then: mlflow-provision tunnel {deployment.name}"
    return f"answer ssh's question once, at a terminal: mlflow-provision tunnel {deployment.name}"


def _by_hand(deployment: Deployment) -> str:
    identity = ["-i", deployment.identity_file] if deployment.identity_file else []
    return shlex.join(["ssh", "-v", *identity, deployment.host])


def _taken(taken: int, port: int, deployment: Deployment) -> Ending:
    if taken == port:
        return port_taken(port, deployment.name)
    what = f"port {taken}, which ~/.ssh/config forwards for {deployment.host} too, is taken on this machine"
    return Ending(State.FAILED, what, f"see what is forwarded: ssh -G {deployment.host}")


def port_taken(port: int, name: str) -> Ending:
    return Ending(
        State.PORT_TAKEN,
        f"port {port} on this machine is used by another program",
        f"take the next free one: mlflow-provision tunnel {name}",
    )


def _known_as(said: Sequence[str]) -> str:
    for line in said:
        if found := re.search(r"[Hh]ost key for (\S+) has changed", line):
            return found[1].strip("[]") if found[1].endswith("]") else found[1]
    return ""
