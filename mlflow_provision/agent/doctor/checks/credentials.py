"""Are the credentials for the bucket complete, and are they the ones that are meant?"""

from __future__ import annotations

from mlflow_provision.agent.doctor import aws
from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, ok, warn
from mlflow_provision.agent.doctor.patient import Patient


def partial(patient: Patient) -> Finding:
    """Nowhere is half of a key: boto3 refuses to go on ("Partial credentials found") instead of looking elsewhere."""
    environment = _environment(patient)
    halves: list[str] = []
    names = {name: environment.get(name.upper(), "") for name in (aws.KEY, aws.SECRET)}
    if problem := _half(names):
        halves.append(f"the server's environment has {problem}")
    path, used = aws.credentials_file(environment), environment.get("AWS_PROFILE") or "default"
    others: list[str] = []
    for profile, settings in aws.profiles(path).items():
        if problem := _half(settings):
            (halves if profile == used else others).append(f"profile {profile} in {path} has {problem}")
    if halves:
        return bad("; ".join(halves), paths=[path])
    if others:
        return warn("; ".join(others) + " (not used)", paths=[path])
    return ok("no half of a key anywhere")


def _half(settings: dict[str, str]) -> str:
    key, secret = bool(settings.get(aws.KEY)), bool(settings.get(aws.SECRET))
    if key == secret:
        return ""
    return f"{aws.KEY} without {aws.SECRET}" if key else f"{aws.SECRET} without {aws.KEY}"


def profile(patient: Patient) -> Finding:
    """The profile that is named exists, and nothing stands before it."""
    environment, wanted = _environment(patient), patient.data["artifacts"]
    used = aws.found(environment)
    named = environment.get("AWS_PROFILE", "")
    credentials, config = aws.credentials_file(environment), aws.config_file(environment)
    if named and named not in {**aws.profiles(credentials), **aws.profiles(config, config=True)}:
        there = ", ".join(aws.profiles(credentials)) or "none"
        return bad(
            f"the server uses the profile {named}, and {credentials} does not have it (it has: {there})", fix="apply"
        )
    kind = wanted["credentials"]
    if used.source == aws.ENVIRONMENT and kind != "environment":
        return bad(
            f"the environment of the server has AWS_ACCESS_KEY_ID={used.keys.access_key_id}: boto3 takes that, and not "
            + (f"the profile {named}" if named else "the instance's role"),
            remedy="Find out what sets it (systemctl cat mlflow-NAME), remove that, then mlflow-provision restart NAME",
            no_fix=True,
        )
    if kind == "instance-role" and used.source == aws.FILE:
        return bad(
            f"{credentials} has a key ({used.keys.access_key_id}), which boto3 takes before the instance's role",
            remedy=f"Remove it: sudo mv {credentials} {credentials}.old; then mlflow-provision restart NAME",
            no_fix=True,
        )
    if kind in ("profile", "keys"):
        expected = wanted["profile"] or "default"
        if named != expected:
            return bad(
                f"the server uses the profile {named or 'default'}, the deployment file names {expected}", fix="apply"
            )
        if used.source != aws.FILE:
            return bad(f"{credentials} has no key for the profile {expected}", fix="apply")
        return ok(f"profile {expected} of {credentials}, key {used.keys.access_key_id}")
    return ok("the instance's role, and no key stands before it")


def _environment(patient: Patient) -> dict[str, str]:
    if not patient.destination.startswith("s3://"):
        raise Skip("artifacts are in a folder: no credentials are needed")
    return patient.environment
