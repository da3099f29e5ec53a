"""moto's server, with the permissions of S3 judged as AWS judges them: `python -m tests.lab.aws --host … --port …`.

moto itself ignores conditions, looks for the permission to delete several objects on the bucket instead of on each
object, says "not found" to those whom AWS tells "denied", and takes keys that are inactive. What this cannot show:
policies of the bucket, and any condition but StringLike on s3:prefix, which is refused so that nobody believes it was
tried.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

from moto import server
from moto.iam import access_control
from moto.s3.exceptions import S3ClientError
from moto.s3.models import s3_backends
from moto.s3.responses import S3Response

LIST = "s3:ListBucket"
PREFIX = "s3:prefix"

_put_object = S3Response.put_object


def check_action_permitted(request: Any, resource: str) -> None:
    """In place of moto's own."""
    if _inactive(request._access_key):
        request._raise_invalid_access_key("InvalidId")
    query = parse_qs(urlsplit(request._path).query, keep_blank_values=True)
    context = {PREFIX: query["prefix"][0]} if request._action == LIST and "prefix" in query else {}
    statements = list(_statements(request))
    for wanted in _resources(request, resource, query):
        if not _allowed(statements, request._action, wanted, context):
            request._raise_access_denied()
    may_know = _exists(request, resource) or _allowed(statements, LIST, resource.partition("/")[0], {})
    if request._action == "s3:GetObject" and not may_know:
        request._raise_access_denied()


def _inactive(key: Any) -> bool:
    """Was it switched off at IAM? Keys of roles cannot be."""
    if not isinstance(key, access_control.IAMUserAccessKey):
        return False
    known = key.backend.get_user(key._owner_user_name).access_keys
    return any(one.access_key_id == key._access_key_id and one.status == "Inactive" for one in known)


def put_object(response: Any) -> Any:
    """In place of moto's own; who asks may put by now."""
    told = response.headers.get("Content-Md5", "")
    if told and told != base64.b64encode(hashlib.md5(response.body or b"").digest()).decode():
        raise S3ClientError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    return _put_object(response)


def _statements(request: Any) -> Iterator[dict[str, Any]]:
    for policy in request._access_key.collect_policies():
        found = access_control.IAMPolicy(policy)._policy_json["Statement"]
        yield from found if isinstance(found, list) else [found]


def _resources(request: Any, resource: str, query: dict[str, list[str]]) -> list[str]:
    if request._method != "POST" or "delete" not in query:
        return [resource]
    body = ElementTree.fromstring(request._body)
    return [f"{resource}/{element.text}" for element in body.iter() if element.tag.rpartition("}")[2] == "Key"]


def _allowed(statements: list[dict[str, Any]], action: str, resource: str, context: dict[str, str]) -> bool:
    effects = {one["Effect"] for one in statements if _concerns(one, action, resource, context)}
    return effects == {"Allow"}


def _concerns(statement: dict[str, Any], action: str, resource: str, context: dict[str, str]) -> bool:
    if not any(fnmatchcase(action.lower(), one.lower()) for one in _all(statement["Action"])):
        return False
    if not any(fnmatchcase(resource, one) for one in _all(statement["Resource"])):
        return False
    for operator, keys in statement.get("Condition", {}).items():
        assert operator == "StringLike" and set(keys) == {PREFIX}, f"cannot judge {operator} {keys}"
        # A key that the request does not have never matches.
        if PREFIX not in context or not any(fnmatchcase(context[PREFIX], one) for one in _all(keys[PREFIX])):
            return False
    return True


def _all(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _exists(request: Any, resource: str) -> bool:
    bucket, _, key = resource.rpartition(":")[2].partition("/")
    found = s3_backends[request.account_id]["aws"].buckets.get(bucket)
    return found is not None and key in found.keys


if __name__ == "__main__":
    setattr(access_control.S3IAMRequest, "check_action_permitted", check_action_permitted)  # noqa: B010
    setattr(S3Response, "put_object", put_object)  # noqa: B010
    server.main()
