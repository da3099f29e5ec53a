"""How content becomes stored objects and comes back: gzip, then age where wanted; sums of both sides, flat memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Callable, Iterable, Iterator

from mlflow_provision.agent.backup import age
from mlflow_provision.agent.backup.age import Undecipherable, WrongKey
from mlflow_provision.agent.backup.channel import Channel, Gone, Tally, raise_if
from mlflow_provision.agent.backup.gzip_stream import deflated, inflated
from mlflow_provision.agent.backup.manifest import Member
from mlflow_provision.agent.backup.settings import Encryption
from mlflow_provision.agent.backup.stores.base import Missing, Store
from mlflow_provision.agent.backup.transfer import Fetch, Upload
from mlflow_provision.agent.protocol import AgentError

_AGE = ".age"


@dataclass(frozen=True)
class Stored:
    """Sizes in bytes and SHA-256 sums: of the plain content, and of what is in the store."""

    size: int
    sha256: str
    stored_size: int
    stored_sha256: str


@dataclass(frozen=True)
class Key:
    """What opens encrypted objects: an age identity ("": none is known), and the Python that has pyrage."""

    identity: str = field(default="", repr=False)
    python: str = ""


def never() -> bool:
    return False


def suffix(encryption: Encryption) -> str:
    """What is appended to the name of plain content: `.gz`, or `.gz.age`."""
    return ".gz" + (_AGE if encryption.recipient else "")


def encrypted(key: str) -> bool:
    """Whether the object under this key of a store is encrypted."""
    return key.endswith(_AGE)


def store_stream(
    store: Store,
    key: str,
    pieces: Iterable[bytes],
    encryption: Encryption,
    expected: int = 0,
    progress: Callable[[int], object] = lambda count: None,
    stopping: Callable[[], bool] = never,
) -> Stored:
    """Put an object: `key` is its whole key, with `suffix`; `expected` bytes of plain content, roughly.

    `progress` hears how many more bytes of it have been taken. Whatever is raised, by `pieces` too, leaves no object.
    """
    plain = Tally()
    pipe = age.encrypting(encryption.recipient, encryption.python, stopping) if encrypted(key) else Channel(stopping)
    packed = deflated(_counted(pieces, plain, progress, stopping))
    stored = _put(pipe, store, key, packed, expected, stopping)
    return Stored(plain.size, plain.sha256, stored.size, stored.sha256)


def put_pieces(
    store: Store, key: str, pieces: Iterable[bytes], size: int, stopping: Callable[[], bool] = never
) -> None:
    """Put an object as it is. Whatever is raised, by `pieces` too, leaves no object."""
    _put(Channel(stopping), store, key, pieces, size, stopping)


def put_bytes(store: Store, key: str, data: bytes, stopping: Callable[[], bool] = never) -> None:
    """Put a small object as it is."""
    put_pieces(store, key, [data], len(data), stopping)


def load_stream(
    store: Store,
    member: Member,
    sink: Callable[[bytes], object],
    key: Key,
    stopping: Callable[[], bool] = never,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Hand the plain content of an object to `sink`, piece by piece; what it got is good only when this returns.

    Raises AgentError of kind "damaged" when any size or sum is not that of the manifest (the object that is missing
    too), of kind "key" when there is no identity, or the wrong one.
    """
    plain = Tally()
    pipe = _opened(store, member, key, stopping)
    fetch = Fetch(store, member.key, member.stored_size, pipe, stopping)
    fetch.start()
    try:
        why = _unpacked(pipe, member, plain, sink, progress)
        if why:
            raise damaged(store, member, why)
        _finish(fetch, store, member)
    except Gone:
        _finish(fetch, store, member)  # raises why, unless all of it has come
        raise damaged(store, member, "it ends too early") from None
    except WrongKey as error:
        _finish(fetch, store, member)  # a flipped bit in its head looks like a wrong key
        raise WrongKey(f"{store.title}/{member.key} cannot be opened: {error.message}") from None
    finally:
        fetch.cancel()
        _close(pipe)
    if (plain.size, plain.sha256) != (member.size, member.sha256):
        raise damaged(store, member, "its content is not what was backed up")


def check_stored(
    store: Store,
    member: Member,
    stopping: Callable[[], bool] = never,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Compare size and sum of a stored object with the manifest, without opening it. Raises AgentError "damaged"."""
    for piece in stored_pieces(store, member, stopping):
        progress(len(piece))


def stored_pieces(store: Store, member: Member, stopping: Callable[[], bool] = never) -> Iterator[bytes]:
    """The bytes of an object as they are stored. Raises AgentError "damaged" at their end if they are not right."""
    pipe = Channel(stopping)
    fetch = Fetch(store, member.key, member.stored_size, pipe, stopping)
    fetch.start()
    try:
        yield from pipe
        _finish(fetch, store, member)
    except Gone:
        _finish(fetch, store, member)
        raise
    finally:
        fetch.cancel()


def damaged(store: Store, member: Member, why: str) -> AgentError:
    """The error about an object that is not what was stored."""
    hint = "this backup is lost in part: take another one of `mlflow-provision backup list`"
    return AgentError(f"{store.title}/{member.key} is damaged: {why}", hint, "damaged")


def _put(
    pipe: Channel | age.Filter,
    store: Store,
    key: str,
    pieces: Iterable[bytes],
    expected: int,
    stopping: Callable[[], bool],
) -> Tally:
    upload = Upload(store, key, expected, pipe)
    upload.start()
    try:
        for piece in pieces:
            pipe.write(piece)
        pipe.end()
        upload.finish(stopping)
    except Gone:
        upload.finish(stopping)  # raises why
        raise
    finally:
        upload.cancel()
        _close(pipe)
    return upload.tally


def _opened(store: Store, member: Member, key: Key, stopping: Callable[[], bool]) -> Channel | age.Filter:
    if not encrypted(member.key):
        return Channel(stopping)
    if not key.identity:
        raise WrongKey(f"{store.title}/{member.key} is encrypted, and no key is known")
    return age.decrypting(key.identity, key.python, stopping)


def _unpacked(
    pipe: Iterable[bytes],
    member: Member,
    tally: Tally,
    sink: Callable[[bytes], object],
    progress: Callable[[int], object],
) -> str:
    """Hand on what is in the pipe; returns why that cannot be, or ""."""
    try:
        for piece in inflated(pipe):
            tally.add(piece)
            if tally.size > member.size:
                return "it holds more than was put into it"
            sink(piece)
            progress(len(piece))
    except (Undecipherable, zlib.error):
        return "it cannot be unpacked"
    except EOFError:
        return "it ends too early"
    return ""


def _finish(fetch: Fetch, store: Store, member: Member) -> None:
    try:
        fetch.finish()
    except Missing:
        raise damaged(store, member, "it is not there any more") from None
    if fetch.tally.size != member.stored_size:
        more = fetch.tally.size > member.stored_size
        why = f"it has {'more' if more else f'{fetch.tally.size} bytes'}, not {member.stored_size} bytes"
        raise damaged(store, member, why)
    if fetch.tally.sha256 != member.stored_sha256:
        raise damaged(store, member, "its sum is not that of the manifest")


def _close(pipe: Channel | age.Filter) -> None:
    pipe.abandon()
    if isinstance(pipe, age.Filter):
        pipe.close()


def _counted(
    pieces: Iterable[bytes], tally: Tally, progress: Callable[[int], object], stopping: Callable[[], bool]
) -> Iterator[bytes]:
    for piece in pieces:
        raise_if(stopping)
        tally.add(piece)
        progress(len(piece))
        yield piece
