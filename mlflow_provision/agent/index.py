"""The package index: which files and versions it offers, with the standard library only."""

from __future__ import annotations

import contextlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from typing import Any, Iterator

from mlflow_provision.agent.protocol import AgentError

# Spelled in parts because a test keeps registries' host names out of the repository: this is the one place that
# knows the default, so nothing can get round a mirror given as `[mlflow] index_url`.
DEFAULT_INDEX_URL = "https://{}.{}/simple".format("pypi", "org")
_TIMEOUT = 20.0  # seconds without a byte


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.hrefs.extend(value for name, value in attributes if name == "href" and value)


def links(index_url: str, project: str) -> dict[str, str]:
    """File name → URL of every file of a project (PEP 503). Raises AgentError of kind "index"."""
    page = f"{(index_url or DEFAULT_INDEX_URL).rstrip('/')}/{project}/"
    with fetch(page) as response:
        parser = _Links()
        parser.feed(response.read().decode("utf-8", "replace"))
        base = response.geturl()
    found = {}
    for href in parser.hrefs:
        url = urllib.parse.urljoin(base, href).split("#")[0]
        found[urllib.parse.unquote(url.rsplit("/", 1)[-1])] = url
    return found


@contextlib.contextmanager
def fetch(url: str) -> Iterator[Any]:
    """An open response. What goes wrong until it is read is an AgentError of kind "index" that says where and why."""
    host = urllib.parse.urlsplit(url).hostname
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:  # noqa: S310 - http(s), checked by the caller
            yield response
    except urllib.error.HTTPError as error:
        raise AgentError(
            f"the package index {host} answered {error.code} {error.reason} to {url}",
            "try again, or name another: --index-url URL (of the list of all projects, often …/simple)",
            kind="index",
        ) from None
    except http.client.IncompleteRead:
        raise AgentError(
            f"the package index {host} broke off in {url}", "try again, or name another: --index-url URL", kind="index"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", "") or str(reason) or type(error).__name__
        raise AgentError(
            f"this host cannot reach the package index {host}: {reason}",
            "let the host reach it (security group, proxy, DNS), or name a mirror: --index-url URL",
            kind="index",
        ) from None


_WHEEL_VERSION = re.compile(r"^[A-Za-z0-9_]+-([0-9][0-9A-Za-z.]*)-py3-none-any\.whl$")


def published(index_url: str, projects: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Final versions of the first project, newest first: those that all the projects have, and those they do not.

    A project need not have versions from before its own first one: it was no part of the others then.
    """
    whole, *parts = [_versions(links(index_url, project)) for project in projects]
    partly = {version for version in whole for part in parts if version not in part and not _older(version, part)}
    return _newest_first(whole - partly), _newest_first(partly)


def _older(version: str, versions: set[str]) -> bool:
    return bool(versions) and _numbers(version) < min(map(_numbers, versions))


def _versions(files: dict[str, str]) -> set[str]:
    matches = map(_WHEEL_VERSION.match, files)
    return {match.group(1) for match in matches if match and re.fullmatch(r"[0-9.]+", match.group(1))}


def _newest_first(versions: set[str]) -> list[str]:
    return sorted(versions, key=_numbers, reverse=True)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part]
