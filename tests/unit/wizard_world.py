"""A world and a person for the wizard's questions: no terminal, no network, no host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow_provision.aws.ec2 import Instance
from mlflow_provision.aws.security_groups import Exposure
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.errors import ProvisionError
from mlflow_provision.wizard.answers import Answers
from mlflow_provision.wizard.asking import Back, Choice, Problem, anything
from mlflow_provision.wizard.conversation import Conversation, given
from mlflow_provision.wizard.order import QUESTIONS
from tests.unit.fake_host import facts

BACK, CTRL_C = "<back>", "<ctrl-c>"


@dataclass
class Person:
    """Answers by the first words of the question; what is not said takes the default. Keeps what was asked.

    An answer may be a list: one after the other. `BACK` and `CTRL_C` are keys.
    """

    says: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    offered: dict[str, list[Choice]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)  # problems with what was typed

    def choose(self, question: str, choices: Sequence[Choice], default: str = "", flag: str = "") -> str:
        self.offered[question] = list(choices)
        answer = self._next(question, default)
        (chosen,) = [choice for choice in choices if choice.value == answer]
        assert not chosen.why_not, f"{answer} cannot be chosen: {chosen.why_not}"
        return str(answer)

    def text(self, question: str, default: str = "", problem: Problem = anything, flag: str = "") -> str:
        while True:
            answer = str(self._next(question, default))
            told = problem(answer)
            if not told:
                return answer
            self.told.append(told)

    def secret(self, question: str, problem: Problem = anything, flag: str = "") -> str:
        return self.text(question, "", problem)

    def confirm(self, question: str, default: bool, flag: str = "") -> bool:
        return bool(self._next(question, default))

    def _next(self, question: str, default: Any) -> Any:
        self.asked.append(question)
        assert len(self.asked) < 200, f"asked for ever: {self.asked[-5:]}"
        key = next((key for key in self.says if question.startswith(key)), None)
        if key is None:
            assert default != "", f"nobody said what to answer to {question!r}"
            return default
        answer = self.says[key]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer == BACK:
            raise Back
        if answer == CTRL_C:
            raise KeyboardInterrupt
        return answer


@dataclass
class FakeWorld:
    """Everything works unless a test says otherwise. Keeps what was asked of it."""

    known: dict[str, Deployment] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    aws_profiles: dict[str, str] = field(default_factory=dict)  # name → default region
    ec2: list[Instance] = field(default_factory=list)
    exposed: Exposure | None = None
    owned_buckets: dict[str, str] = field(default_factory=dict)  # name → region
    changed_facts: dict[str, Any] = field(default_factory=dict)
    role: tuple[str, str] = ("", "this host has no instance role")
    store: Callable[[Deployment, Secrets], None] = lambda deployment, secrets: None
    unreachable: list[ProvisionError] = field(default_factory=list)  # raised by the next looks
    stored: Secrets = field(default_factory=Secrets)
    did: list[str] = field(default_factory=list)

    def deployments(self) -> dict[str, Deployment]:
        return self.known

    def secrets(self, name: str) -> Secrets:
        return self.stored

    def ssh_hosts(self) -> list[str]:
        return self.aliases

    def profiles(self) -> list[str]:
        return list(self.aws_profiles)

    def region_of(self, profile: str) -> str:
        return self.aws_profiles.get(profile, "")

    def instances(self, profile: str, region: str) -> list[Instance]:
        self.did.append(f"instances {profile} {region}")
        return self.ec2

    def exposure(self, profile: str, region: str, address: str, port: int) -> Exposure | None:
        self.did.append(f"exposure {address} {port}")
        return self.exposed

    def buckets(self, profile: str) -> list[str]:
        return list(self.owned_buckets)

    def region_of_bucket(self, profile: str, bucket: str) -> str:
        return self.owned_buckets.get(bucket, "")

    def create_bucket(self, profile: str, bucket: str, region: str) -> list[str]:
        self.did.append(f"create {bucket} {region}")
        return [f"created the bucket {bucket}"]

    def look(self, deployment: Deployment) -> dict[str, Any]:
        self.did.append(f"look {deployment.host} {deployment.name} {deployment.mlflow.port}")
        if self.unreachable:
            raise self.unreachable.pop(0)
        return facts(**{"old_server": None, **self.changed_facts})

    def instance_role(self) -> tuple[str, str]:
        return self.role

    def try_store(self, deployment: Deployment, secrets: Secrets) -> None:
        self.did.append(f"try {deployment.artifacts.destination}")
        self.store(deployment, secrets)

    def old_settings(self, facts: dict[str, Any]) -> dict[str, Any]:
        return {"mlflow.port": 5050, "auth.admin_username": "boss"}

    def policy(self, deployment: Deployment) -> str:
        return f"POLICY for {deployment.artifacts.destination}"

    def make_user(self, deployment: Deployment, profile: str) -> tuple[list[str], str, str]:
        self.did.append(f"user for {deployment.artifacts.destination}")
        return ["created the user"], "MADE-ID", "MADE-CANARY"

    def make_role(self, deployment: Deployment, profile: str, region: str, instance: str) -> list[str]:
        self.did.append(f"role for {deployment.artifacts.destination} on {instance}")
        self.role = ("mlflow-server", "")
        return ["created the role"]


@dataclass
class Evening:
    """One conversation, and everything that was said in it."""

    world: FakeWorld
    person: Person
    talk: Conversation
    said: list[str]
    kept: list[Answers]

    @property
    def text(self) -> str:
        """All of it, with the line breaks as spaces."""
        return " ".join(" ".join(self.said).split())


def evening(world: FakeWorld, says: dict[str, Any], answers: Answers | None = None, patient: bool = True) -> Evening:
    """A conversation that has not begun yet."""
    said: list[str] = []
    kept: list[Answers] = []
    person = Person(says)
    answers = answers or Answers()
    given(answers, QUESTIONS)

    def say(text: str = "", style: str = "") -> None:
        said.append(text)

    talk = Conversation(person, world, say, answers, QUESTIONS, kept.append, patient)
    return Evening(world, person, talk, said, kept)
