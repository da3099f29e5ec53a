"""The end of an old AWS key: made inactive, and only deleted when that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_provision.cli.rotate.new_key import Source
from mlflow_provision.errors import ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.rotation.aws import Use


def retire(console: Console, host: Host, used: Use, old: str, source: Source) -> str:
    """What became of the old key: "active", "inactive" or "deleted". `used` has the new one."""
    from mlflow_provision.rotation.aws import others_with
    from mlflow_provision.rotation.journal import begun, ended

    name = used.deployment.name
    if others := others_with(old, name):
        console.note(f"the old key stays active: {', '.join(others)} use it too. Rotate them as well, then end it")
        fate = "active"
    elif source.iam:
        fate = _ended_at_iam(console, host, used, begun(name, used.what).get("user", ""), old, source)
    else:
        _say_how(console, used, old)
        fate = "active"
    ended(name, used.what)
    return fate


def _ended_at_iam(console: Console, host: Host, used: Use, user: str, old: str, source: Source) -> str:
    from mlflow_provision.aws.access_keys import delete, switch, user_of
    from mlflow_provision.rotation.aws import try_key

    with console.busy("Making the old key inactive"):
        user = user or user_of(source.profile, old)
        switch(source.profile, user, old, on=False)
        try:
            try_key(host, used, used.key)
        except ProvisionError as error:
            switch(source.profile, user, old, on=True)
            raise ProvisionError(
                f"{error.message}\nThat was so only without the old key, which is active again.", error.hint, error.code
            ) from None
        if source.delete_old:
            delete(source.profile, user, old)
    if source.delete_old:
        console.say(f"The old key of {user}, {old}, was deleted.")
        return "deleted"
    console.say(f"The old key of {user}, {old}, is inactive. When nobody misses it:")
    console.say(f"  {_command('delete-access-key', user, old, source.profile)}")
    return "inactive"


def _say_how(console: Console, used: Use, old: str) -> None:
    """It is not ours to end."""
    if not used.at_amazon:
        console.say(f"The old key, {old}, still works: delete it at the store when nobody else uses it.")
        return
    console.say(f"The old key, {old}, still works. When nobody else uses it:")
    console.say(f"  {_command('update-access-key', 'USER', old, '')} --status Inactive")
    console.say(f"  {_command('delete-access-key', 'USER', old, '')}")


def _command(words: str, user: str, key: str, profile: str) -> str:
    from mlflow_provision.aws.session import command

    return command(f"iam {words} --user-name {user} --access-key-id {key}", profile)
