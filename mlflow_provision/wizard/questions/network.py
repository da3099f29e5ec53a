"""How people reach the server: through a tunnel, or over the network, with the warning that belongs to it."""

from __future__ import annotations

from mlflow_provision.config.wording import shown
from mlflow_provision.preflight import warnings
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.conversation import Conversation, Question

LOOPBACK, EVERYWHERE, ADDRESS = "127.0.0.1", "0.0.0.0", "an address"  # noqa: S104


def choose_listen(talk: Conversation) -> None:
    here = talk.answers.host == "local"
    tunnel = "Only from this machine" if here else "Only through an SSH tunnel"
    note = "recommended" if here else "recommended: encrypted, and nothing is open to the network"
    choices = [
        Choice(LOOPBACK, tunnel, note),
        Choice(EVERYWHERE, "From every network the host is on", "without encryption"),
        Choice(ADDRESS, "From one address of the host", ", ".join(talk.facts["addresses"])),
    ]
    current = talk.deployment.mlflow.listen
    default = current if current in (LOOPBACK, EVERYWHERE) else ADDRESS
    answer = talk.ask.choose("How do people reach it?", choices, default, "--listen")
    if answer == ADDRESS:
        first = next(iter(talk.facts["addresses"]), current)
        answer = talk.ask.text("Which address?", first, lambda text: talk.problem(mlflow__listen=text), "--listen")
    talk.answers.put(mlflow__listen=answer)
    talk.answers.done -= {"network.names", "network.exposure"}
    if _wider(talk):
        for warning in warnings(talk.deployment):
            talk.note(f"Note: {warning}")


def type_port(talk: Conversation) -> None:
    facts = talk.look()
    owner = facts["port_owner"]
    current = talk.deployment.mlflow.port
    taken = owner and not owner["ours"]
    if taken:
        talk.note(f"Port {current} is used by {owner['name']}.")
    default = facts["free_port"] if taken else current
    answer = talk.ask.text("Port", str(default), lambda text: _port_problem(talk, text), "--port")
    talk.answers.put(mlflow__port=int(answer))
    facts = talk.look()
    if facts["port_owner"] and not facts["port_owner"]["ours"]:
        talk.say(f"Port {answer} is used by {facts['port_owner']['name']}; {facts['free_port']} is free.", "bad")
        type_port(talk)


def type_names(talk: Conversation) -> None:
    """The server refuses requests that name it in another way."""
    current = ", ".join(talk.deployment.mlflow.allowed_hosts)
    talk.note("Its address and host name are known. Others, like mlflow.example.com, must be said.")
    text = talk.ask.text(
        "Further names people use, with commas between",
        current,
        lambda text: talk.problem(mlflow__allowed_hosts=_split(text)),
        "--allowed-host",
    )
    talk.answers.put(mlflow__allowed_hosts=_split(text))


def look_at_security_group(talk: Conversation) -> None:
    """Says what can be told; without rights, or outside EC2, nothing."""
    notes, port = talk.answers.notes, talk.deployment.mlflow.port
    address = notes.get("instance") or talk.answers.host
    found = talk.world.exposure(notes.get("aws_profile", ""), notes.get("aws_region", ""), address, port)
    if found is None:
        talk.note("Whether a firewall of your cloud lets people in cannot be told from here.")
    elif found.open_to_world:
        names = ", ".join(sorted({opening.group_id for opening in found.openings}))
        talk.say(f"  The security group {names} opens port {port} to the whole world.", "bad")
        talk.note("Limit it to the addresses of your team, or choose the tunnel.")
    else:
        talk.say(f"  No security group opens port {port} to the whole world.", "good")
        talk.note(f"Let your team in: a rule for TCP port {port} from its addresses.")


def _port_problem(talk: Conversation, text: str) -> str | None:
    if not text.isdecimal():
        return f"{shown(text)} is not a number"
    return talk.problem(mlflow__port=int(text))


def _split(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.replace(",", " ").split())))


def _wider(talk: Conversation) -> bool:
    from mlflow_provision.blueprint.reach import is_loopback

    return not is_loopback(talk.deployment.mlflow.listen)


def _worth_a_look(talk: Conversation) -> bool:
    return _wider(talk) and talk.answers.host != "local"


QUESTIONS: tuple[Question, ...] = (
    Question("network.listen", choose_listen, sets=("mlflow.listen",)),
    Question("network.port", type_port, sets=("mlflow.port",)),
    Question("network.names", type_names, _wider, ("mlflow.allowed_hosts",)),
    Question("network.exposure", look_at_security_group, _worth_a_look, silent=True),
)
