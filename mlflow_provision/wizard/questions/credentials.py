"""How the server proves to the bucket who it is. Every answer is tried from the host at once."""

from __future__ import annotations

from dataclasses import replace

from mlflow_provision.config import missing_secrets
from mlflow_provision.config.secrets_file import key_problem
from mlflow_provision.errors import ProvisionError
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.conversation import AskAgain, Conversation, Question, trouble
from mlflow_provision.wizard.questions.account import profile_choices

ROLE, PROFILE, KEYS = "instance-role", "profile", "keys"
MAKE_ROLE, MAKE_USER, POLICY = "make a role", "make a user", "policy"


def choose_way(talk: Conversation) -> None:
    typed = Choice(KEYS, "Keys that I type", "an access key of its own")
    choices = [*_role_choices(talk), _profile_choice(talk), typed, *_policy_choices(talk)]
    default = next(choice.value for choice in choices if not choice.why_not)
    flag = "--instance-role, --aws-profile or --aws-keys"
    answer = talk.ask.choose("How may the server use the bucket?", choices, default, flag)
    if answer == POLICY:
        talk.say(talk.world.policy(talk.deployment))
        raise AskAgain
    if answer == MAKE_ROLE:
        _make_role(talk)
        answer = ROLE
    elif answer == MAKE_USER:
        _make_user(talk)
        answer = KEYS
    talk.answers.put(artifacts__credentials=answer, artifacts__profile="")
    talk.answers.done -= {"credentials.profile", "credentials.keys", "credentials.test"}


def choose_profile(talk: Conversation) -> None:
    talk.note("Its keys are copied to the host. Best is one whose user may do nothing but this.")
    choices = profile_choices(talk)
    looked_with = talk.answers.notes.get("aws_profile", "")
    talk.answers.put(
        artifacts__profile=talk.ask.choose(
            "Which profile's keys should the server have?", choices, looked_with or choices[0].value, "--aws-profile"
        )
    )


def type_keys(talk: Conversation) -> None:
    key = talk.ask.text("Access key id", talk.answers.secrets.aws_access_key_id, _key_problem, "--aws-keys")
    secret = talk.ask.secret("Secret access key", _key_problem, "--aws-keys")
    talk.answers.secrets = replace(
        talk.answers.secrets, aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=""
    )


def test(talk: Conversation) -> None:
    """From the host: what works here may not work there."""
    try:
        talk.world.try_store(talk.deployment, talk.answers.secrets)
    except ProvisionError as error:
        if not talk.patient:
            raise
        trouble(talk, error)
        _after_refusal(talk)
        return
    talk.say(f"  The host can put, get, list and delete in {talk.deployment.artifacts.destination}.", "good")


def _after_refusal(talk: Conversation) -> None:
    """Leaves the questions open that are to be asked again; this one is asked after them in any case."""
    choices = [
        Choice("again", "Try again"),
        Choice("credentials", "Other credentials"),
        Choice("bucket", "Another place for artifacts"),
    ]
    if _at_amazon(talk):
        choices.insert(1, Choice(POLICY, "Show the policy that allows it", "for whoever looks after the account"))
    answer = talk.ask.choose("What now?", choices, "again")
    if answer == POLICY:
        talk.say(talk.world.policy(talk.deployment))
    elif answer == "credentials":
        talk.answers.secrets = replace(talk.answers.secrets, aws_access_key_id="", aws_secret_access_key="")
        talk.answers.done -= {"credentials.way", "credentials.profile", "credentials.keys"}
    elif answer == "bucket":
        talk.answers.done = {one for one in talk.answers.done if not one.startswith("artifacts.")}
    raise AskAgain


def _role_choices(talk: Conversation) -> list[Choice]:
    if not _at_amazon(talk):
        return []
    role, why_not = talk.world.instance_role()
    choice = Choice(ROLE, "The instance role of the host", role or "no keys anywhere", "" if role else why_not)
    instance = talk.answers.notes.get("instance")
    if role or not instance:
        return [choice]
    note = "made with your AWS profile, for exactly this bucket and prefix"
    return [Choice(MAKE_ROLE, "Make a role for this instance", note), choice]


def _profile_choice(talk: Conversation) -> Choice:
    why_not = "" if talk.world.profiles() else "there is none"
    return Choice(PROFILE, "A profile of ~/.aws on this machine", "its keys are copied to the host", why_not)


def _policy_choices(talk: Conversation) -> list[Choice]:
    """With rights in the account the identity can be made here; else others can make it from the policy."""
    if not _at_amazon(talk):
        return []
    shown = Choice(POLICY, "First show me the policy it needs", "mlflow-provision iam-policy prints it too")
    if not talk.answers.notes.get("aws_profile"):
        return [shown]
    return [
        Choice(MAKE_USER, "A new IAM user", "made with your AWS profile, for exactly this bucket and prefix"),
        shown,
    ]


def _make_user(talk: Conversation) -> None:
    done, key, secret = talk.world.make_user(talk.deployment, talk.answers.notes["aws_profile"])
    for line in done:
        talk.say(f"  {line}")
    talk.answers.secrets = replace(
        talk.answers.secrets, aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=""
    )


def _make_role(talk: Conversation) -> None:
    notes = talk.answers.notes
    for line in talk.world.make_role(talk.deployment, notes["aws_profile"], notes["aws_region"], notes["instance"]):
        talk.say(f"  {line}")


def _key_problem(text: str) -> str | None:
    return (key_problem(text) or None) if text else "is empty"


def _at_amazon(talk: Conversation) -> bool:
    return not talk.deployment.artifacts.endpoint_url


def _on_s3(talk: Conversation) -> bool:
    return talk.deployment.artifacts.destination.startswith("s3://")


def _by(way: str, talk: Conversation) -> bool:
    return _on_s3(talk) and talk.deployment.artifacts.credentials == way


def _keys_missing(talk: Conversation) -> bool:
    return _by(KEYS, talk) and bool(missing_secrets(talk.deployment, talk.answers.secrets))


QUESTIONS: tuple[Question, ...] = (
    Question("credentials.way", choose_way, _on_s3, ("artifacts.credentials",)),
    Question("credentials.profile", choose_profile, lambda talk: _by(PROFILE, talk), ("artifacts.profile",)),
    Question("credentials.keys", type_keys, _keys_missing),
    Question("credentials.test", test, _on_s3, silent=True),
)
