"""Artifacts in a bucket: listed in pages, and removed a thousand at a time."""

from __future__ import annotations

import calendar
import contextlib
import re
import time
from html import escape
from typing import Callable, Iterator, Mapping
from urllib.parse import unquote_plus

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.collection.places.base import Found, Told, Wanted
from mlflow_provision.agent.collection.settings import Place as Wish
from mlflow_provision.agent.collection.settings import keys_in
from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import Bucket, S3Error, verdict
from mlflow_provision.agent.s3.access import opened, refusal
from mlflow_provision.agent.s3.bucket import content_md5
from mlflow_provision.agent.s3.error import element

SECTION = "artifacts"
_PAGE = 1000  # keys; no store lists or deletes more at once
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")  # what XML cannot say, or changes on the way
_UNKNOWN = ("NotImplemented", "MethodNotAllowed", "MalformedPOSTRequest", "InvalidRequest", "HTTP 405", "HTTP 501")


def connection(wish: Wish, bucket: str, stopping: Callable[[], bool]) -> tuple[Bucket, str]:
    """A bucket, with the keys of the server; and the name of the instance role that they are of, or ""."""
    keys = keys_in(wish.credentials_file, wish.profile) if wish.credentials_file else None
    return opened(bucket, wish.region, wish.endpoint_url, keys, wish.metadata_url, SECTION, stopping)


class BucketPlace:
    """`prefix` has no slash at its end; "" is the whole bucket. `role`: whose keys these are, where it is a role."""

    def __init__(self, bucket: Bucket, role: str, prefix: str) -> None:
        self.title = f"s3://{bucket.name}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._role = role
        self._prefix = f"{prefix}/" if prefix else ""
        self._one_by_one = False  # this store deletes single objects only

    def files(self, folder: str) -> Iterator[Found]:
        below = f"{self._prefix}{folder}/"
        with self._told("s3:ListBucket"):
            for page in self._pages(below):
                raise_if(self._bucket.patience.stopping)
                for key, size, modified in page:
                    yield Found(key[len(below) :], size, modified)

    def folders(self, folder: str) -> list[str]:
        below = self._prefix + (f"{folder}/" if folder else "")
        found: list[str] = []
        with self._told("s3:ListBucket"):
            for text in self._answers({"prefix": below, "delimiter": "/"}):
                raise_if(self._bucket.patience.stopping)
                spelled = _spelling(text)
                for part in re.findall(r"<CommonPrefixes>(.*?)</CommonPrefixes>", text, re.DOTALL):
                    found.append(spelled(_raw(part, "Prefix"))[len(below) :].rstrip("/"))
        return found

    def remove(self, folder: str, told: Told, wanted: Wanted = None) -> None:
        below = f"{self._prefix}{folder}/"
        if wanted:
            self._remove_some(below, told, wanted)
            return
        before: list[str] = []
        while True:  # from the beginning each time: the last look proves that nothing is left
            raise_if(self._bucket.patience.stopping)
            with self._told("s3:ListBucket"):
                found = next(iter(self._pages(below)), [])
            if not found:
                return
            keys = [key for key, _, _ in found]
            if keys == before:
                raise self._stubborn(keys[0])
            before = keys
            self._delete(found, told)

    def _remove_some(self, below: str, told: Told, wanted: Callable[[str], bool]) -> None:
        for delete in (True, False):  # and once more, to see that nothing is left
            with self._told("s3:ListBucket"):
                for page in self._pages(below):
                    raise_if(self._bucket.patience.stopping)
                    doomed = [entry for entry in page if wanted(entry[0][len(below) :])]
                    if doomed and not delete:
                        raise self._stubborn(doomed[0][0])
                    self._delete(doomed, told)

    def _stubborn(self, key: str) -> AgentError:
        return AgentError(
            f"{self.title} still has {key}, though the store said that it is deleted",
            "look at the bucket's policy and its object lock",
            verdict.KIND,
        )

    def reachable(self, folder: str) -> bool:
        return True

    def keeps_versions(self) -> bool | None:
        try:
            text = self._bucket.call("GET", "", query={"versioning": ""}).text
        except (S3Error, NoAnswer):
            return None  # it takes a right of its own, s3:GetBucketVersioning
        return element(text, "Status") in ("Enabled", "Suspended")

    def _delete(self, found: list[tuple[str, int, float]], told: Told) -> None:
        if not found:
            return
        plain = [key for key, _, _ in found if not _UNSPEAKABLE.search(key)]
        with self._told("s3:DeleteObject"):
            single = [key for key, _, _ in found if _UNSPEAKABLE.search(key)]
            if not self._one_by_one:
                try:
                    self._delete_many(plain)
                except S3Error as error:
                    if error.code not in _UNKNOWN:
                        raise
                    self._one_by_one = True
            for key in single + (plain if self._one_by_one else []):
                raise_if(self._bucket.patience.stopping)
                self._bucket.delete(key)
        told(len(found), sum(size for _, size, _ in found))

    def _delete_many(self, keys: list[str]) -> None:
        if not keys:
            return
        objects = "".join(f"<Object><Key>{escape(key, quote=False)}</Key></Object>" for key in keys)
        name_space = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<Delete xmlns="{name_space}"><Quiet>true</Quiet>{objects}</Delete>'.encode()
        # A refusal of one key is an <Error> in the answer, which `call` raises.
        self._bucket.call("POST", "", query={"delete": ""}, body=body, headers=content_md5(body))

    def _pages(self, below: str) -> Iterator[list[tuple[str, int, float]]]:
        for text in self._answers({"prefix": below}):
            spelled = _spelling(text)
            yield [
                (spelled(_raw(entry, "Key")), int(element(entry, "Size") or 0), _seconds(entry))
                for entry in re.findall(r"<Contents>(.*?)</Contents>", text, re.DOTALL)
            ]

    def _answers(self, query: Mapping[str, str]) -> Iterator[str]:
        asked = {"list-type": "2", "max-keys": str(_PAGE), "encoding-type": "url", **query}
        while True:
            text = self._bucket.call("GET", "", query=asked).text
            yield text
            token = element(text, "NextContinuationToken")
            if not token or token == asked.get("continuation-token"):
                return
            asked["continuation-token"] = token

    @contextlib.contextmanager
    def _told(self, action: str) -> Iterator[None]:
        """Errors of the store in words. `action` is what IAM calls that which we do."""
        try:
            yield
        except NoAnswer as error:
            raise_if(self._bucket.patience.stopping)
            raise verdict.unreachable(self.title, error, SECTION) from None
        except S3Error as error:
            raise_if(self._bucket.patience.stopping)
            raise refusal(error, action, self.title, self._bucket, self._role, SECTION) from None


def _raw(entry: str, name: str) -> str:
    """The content of an element as it is: a key may begin or end with a space."""
    import html

    found = re.search(rf"<{name}>(.*?)</{name}>", entry, re.DOTALL)
    return html.unescape(found.group(1)) if found else ""


def _spelling(text: str) -> Callable[[str], str]:
    """How this answer writes keys: not every store can do what it was asked for, which is URL encoding."""
    return unquote_plus if element(text, "EncodingType") == "url" else str


def _seconds(entry: str) -> float:
    try:
        return calendar.timegm(time.strptime(element(entry, "LastModified")[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return time.time()  # whoever looks for what is old must not take this for old
