"""Where artifacts go: a bucket, a store that speaks S3, or a folder. Only what works today is offered."""

from __future__ import annotations

from pathlib import PurePosixPath

from mlflow_provision.config.rules.urls import url_problem
from mlflow_provision.errors import ProvisionError
from mlflow_provision.layout import Layout
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.conversation import Conversation, Question, trouble
from mlflow_provision.wizard.questions.account import ask_region, profile_choices, region_problem

S3, COMPATIBLE, FOLDER = "s3", "compatible", "folder"
CREATE, TYPE = "create one", "type its name"
WHY = "Clients send artifacts to the server, which stores them (--artifacts-destination): they need no cloud keys."


def choose_place(talk: Conversation) -> None:
    talk.explain(WHY)
    choices = [
        Choice(S3, "An S3 bucket", "for teams: grows by itself, outlives the host"),
        Choice(COMPATIBLE, "An S3-compatible store", "MinIO, R2, Ceph, …, by its URL"),
        Choice(FOLDER, "A folder on the host", "simple; as large and as safe as its disk"),
    ]
    default = S3 if talk.answers.notes.get("instance") else FOLDER
    answer = talk.ask.choose("Where should artifacts go?", choices, default, "--artifacts")
    talk.answers.drop("artifacts")
    talk.answers.notes["place"] = answer
    talk.answers.done = {one for one in talk.answers.done if not one.startswith(("artifacts.", "credentials."))}


def choose_folder(talk: Conversation) -> None:
    usual = str(Layout(talk.deployment, PurePosixPath(talk.look()["root"]["path"])).data / "artifacts")
    answer = talk.ask.text(
        "Which folder?",
        usual,
        lambda text: None if text == usual else talk.problem(artifacts__destination=text),
        "--artifacts",
    )
    talk.answers.put(artifacts__destination="" if answer == usual else answer)


def choose_profile(talk: Conversation) -> None:
    choices = [*profile_choices(talk), Choice("", "None", "I type the name of the bucket")]
    talk.answers.notes["aws_profile"] = talk.ask.choose(
        "Which AWS profile may list your buckets?", choices, choices[0].value, "--artifacts"
    )


def choose_bucket(talk: Conversation) -> None:
    profile = talk.answers.notes.get("aws_profile", "") if _is(S3, talk) else ""
    buckets = _listed(talk, profile)
    choices = [Choice(bucket, bucket) for bucket in buckets]
    if profile:
        choices.append(Choice(CREATE, "Create a new one", "private, versioned, encrypted, TLS only"))
    choices.append(Choice(TYPE, "Type its name"))
    answer = TYPE
    if len(choices) > 1:
        answer = talk.ask.choose("Which bucket?", choices, choices[0].value, "--artifacts")
    if answer == CREATE:
        answer = _created(talk, profile)
    elif answer == TYPE:
        answer = talk.ask.text("Name of the bucket", "", lambda text: _bucket_problem(talk, text), "--artifacts")
    talk.answers.notes["bucket"] = answer.removeprefix("s3://").partition("/")[0]
    if "/" in answer.removeprefix("s3://").rstrip("/"):
        talk.answers.notes["prefix"] = answer.removeprefix("s3://").rstrip("/").partition("/")[2]


def choose_prefix(talk: Conversation) -> None:
    bucket = talk.answers.notes["bucket"]
    default = talk.answers.notes.get("prefix") or "mlflow"
    prefix = talk.ask.text(
        "Below which prefix of the bucket?", default, lambda text: _prefix_problem(talk, text), "--artifacts"
    ).strip("/")
    talk.answers.put(artifacts__destination=f"s3://{bucket}/{prefix}")


def choose_endpoint(talk: Conversation) -> None:
    url = talk.ask.text("URL of the store", "", lambda text: url_problem(text) or None, "--endpoint-url")
    talk.answers.put(artifacts__endpoint_url=url)


def choose_region(talk: Conversation) -> None:
    """Asked only where AWS does not tell."""
    bucket = talk.deployment.artifacts.destination.removeprefix("s3://").partition("/")[0]
    profile = talk.answers.notes.get("aws_profile", "")
    region = talk.world.region_of_bucket(profile, bucket)
    if not region:
        question = f"In which region is {bucket}?"
        region = ask_region(talk, profile, question, lambda text: talk.problem(artifacts__region=text))
    talk.answers.put(artifacts__region=region)


def _listed(talk: Conversation, profile: str) -> list[str]:
    if not profile:
        return []
    try:
        return talk.world.buckets(profile)
    except ProvisionError as error:  # one may well use a bucket without the right to list all
        trouble(talk, error)
        return []


def _created(talk: Conversation, profile: str) -> str:
    from mlflow_provision.aws.buckets import bucket_name_problem

    name = talk.ask.text("Name of the new bucket", "", lambda text: bucket_name_problem(text) or None)
    region = ask_region(talk, profile, "In which region?", region_problem)
    for line in talk.world.create_bucket(profile, name, region):
        talk.say(f"  {line}")
    talk.answers.put(artifacts__region=region)
    talk.answers.done.add("artifacts.region")
    return name


def _bucket_problem(talk: Conversation, text: str) -> str | None:
    return talk.problem(artifacts__destination=f"s3://{text.removeprefix('s3://').rstrip('/')}")


def _prefix_problem(talk: Conversation, text: str) -> str | None:
    if not text.strip("/"):
        return "give a prefix: other things in the bucket stay apart from the artifacts"
    return talk.problem(artifacts__destination=f"s3://{talk.answers.notes['bucket']}/{text.strip('/')}")


def _is(place: str, talk: Conversation) -> bool:
    return talk.answers.notes.get("place") == place and "artifacts.place" in talk.answers.done


def _at_amazon(talk: Conversation) -> bool:
    artifacts = talk.deployment.artifacts
    return artifacts.destination.startswith("s3://") and not artifacts.endpoint_url and not artifacts.region


QUESTIONS: tuple[Question, ...] = (
    Question("artifacts.place", choose_place, sets=("artifacts.destination",)),
    Question("artifacts.folder", choose_folder, lambda talk: _is(FOLDER, talk)),
    Question("artifacts.endpoint", choose_endpoint, lambda talk: _is(COMPATIBLE, talk), ("artifacts.endpoint_url",)),
    Question(
        "artifacts.profile",
        choose_profile,
        lambda talk: _is(S3, talk) and "aws_profile" not in talk.answers.notes and bool(talk.world.profiles()),
    ),
    Question("artifacts.bucket", choose_bucket, lambda talk: _is(S3, talk) or _is(COMPATIBLE, talk)),
    Question("artifacts.prefix", choose_prefix, lambda talk: _is(S3, talk) or _is(COMPATIBLE, talk)),
    Question("artifacts.region", choose_region, _at_amazon, ("artifacts.region",), silent=True),
)
