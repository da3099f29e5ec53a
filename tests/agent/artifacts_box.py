"""A folder of artifacts, a place for its backups, and what a backup, a check and a restore of it are."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest

from mlflow_provision.agent.backup.artifacts import index, packs
from mlflow_provision.agent.backup.codec import Key, store_stream, suffix
from mlflow_provision.agent.backup.manifest import Manifest, Member
from mlflow_provision.agent.backup.settings import Encryption, Keep, Place, Settings, Source
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.protocol import AgentError

OLD = 1_700_000_000  # seconds: long before any test, so that nothing counts as just written


def never() -> bool:
    return False


@dataclass
class Box:
    """`made` are the manifests of its backups, newest first."""

    base: Path
    key: Key = field(default_factory=Key)
    encryption: Encryption = field(default_factory=Encryption)
    made: list[Manifest] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("artifacts", "state", "scratch"):
            (self.base / name).mkdir(parents=True)
        self.folder = self.base / "artifacts"
        self.store = FolderStore(str(self.base / "place" / "server"))

    def write(self, path: str, content: bytes | str, when: int = OLD) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(file, (when, when))
        return file

    def settings(self) -> Settings:
        source = Source("server", {}, {}, str(self.folder), "")
        place = Place(str(self.base / "place"))
        return Settings("", str(self.base / "state"), source, place, self.encryption, Keep(last=3), "1")

    def previous(self) -> packs.Previous | None:
        settings = self.settings()
        return packs.previous(self.store, self.made, settings, self.key, str(self.base / "scratch"), never)

    def artifacts(self) -> packs.Artifacts:
        """What `back_up` says; no manifest is made of it."""
        scratch = str(self.base / "scratch")
        last = self.previous()
        tell = self.told
        return packs.back_up(
            str(self.folder), self.store, last, self.encryption, scratch, lambda *now: tell.append(now), never
        )

    def back_up(self, remember: bool = True) -> packs.Artifacts:
        found = self.artifacts()
        number = len(self.made) + 1
        key = f"20261121T15301{number}Z-4f2a9c/{index.NAME}{suffix(self.encryption)}"
        stored = store_stream(self.store, key, [Path(found.index).read_bytes()], self.encryption)
        member = Member(index.NAME, key, **asdict(stored))
        self.made.insert(0, self._manifest(number, member, found))
        if remember:
            packs.remember(found.index, str(self.base / "state"))
        Path(found.index).unlink()
        assert list((self.base / "scratch").iterdir()) == []
        return found

    def check(self, manifest: Manifest | None = None) -> packs.Checked:
        scratch, state = str(self.base / "scratch"), str(self.base / "state")
        manifest = manifest or self.made[0]
        return packs.check(self.store, manifest, self.key, scratch, state, lambda done, total: None, never)

    def restore(self, target: Path, manifest: Manifest | None = None) -> packs.Restored:
        scratch, aside = str(self.base / "scratch"), str(self.base / "aside")
        manifest = manifest or self.made[0]
        return packs.restore(
            self.store, manifest, self.key, str(target), scratch, aside, lambda done, total: None, never
        )

    def stored(self, prefix: str = "packs/") -> list[str]:
        return sorted(entry.key for entry in self.store.list(prefix))

    def at(self, key: str) -> Path:
        """The file of a stored object."""
        return self.base / "place" / "server" / key

    def _manifest(self, number: int, member: Member, found: packs.Artifacts) -> Manifest:
        recipient = {"recipient": self.encryption.recipient} if self.encryption.recipient else {}
        return Manifest(
            id=member.key.partition("/")[0],
            sequence=number,
            deployment="server",
            host="box",
            reason="by hand",
            started=float(OLD + number),
            seconds=1.0,
            tool_version="1",
            mlflow_version="3.17.2",
            python_version="3.11",
            sqlite_version="3.40",
            members=(member,),
            schema={},
            rows={},
            packs=found.packs,
            artifacts={"files": found.files, "bytes": found.bytes},
            encryption=recipient,
        )


def tree(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """All that is in a folder: kind, mode, time and content by path; the time of folders and links not."""
    found: dict[bytes, tuple[object, ...]] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        relative, mode = os.fsencode(path.relative_to(folder)), status.st_mode & 0o777
        if path.is_symlink():
            found[relative] = ("link", os.fsencode(path.readlink()))
        elif path.is_dir():
            found[relative] = ("folder", mode)
        elif path.is_file():
            found[relative] = ("file", mode, status.st_mtime_ns, path.read_bytes())
        else:
            found[relative] = ("special",)
    return found


def entries(box: Box, manifest: Manifest | None = None) -> dict[bytes, dict[str, object]]:
    member = index.member_of(manifest or box.made[0])
    assert member
    content = gzip.decompress(box.store.read(member.key)).splitlines()
    return {index.raw(entry["path"]): entry for entry in map(json.loads, content[1:])}


def refused(kind: str, action: object, *arguments: object) -> AgentError:
    assert callable(action)
    with pytest.raises(AgentError) as caught:
        action(*arguments)
    assert caught.value.kind == kind, caught.value.message
    return caught.value


def flip(path: Path, where: int) -> None:
    content = bytearray(path.read_bytes())
    content[where % len(content)] ^= 1
    path.write_bytes(content)


def lying(some: Box, changes: dict[str, object], folders: bool = True) -> Manifest:
    """A manifest whose index is complete and has the right sum, but says something else."""
    member = index.member_of(some.made[0])
    assert member
    lines = gzip.decompress(some.store.read(member.key)).splitlines(keepends=True)
    found = [json.loads(line) for line in lines]
    for entry in found[1:]:
        if entry["kind"] == "file" and entry["path"].endswith("MLmodel"):
            entry.update(changes)
    if not folders:
        found = [entry for entry in found if entry.get("kind") != "folder"]
    content = b"".join(json.dumps(entry).encode() + b"\n" for entry in found)
    stored = store_stream(some.store, "lie/index.gz", [content], some.encryption)
    fake = Member(index.NAME, "lie/index.gz", stored.size, stored.sha256, stored.stored_size, stored.stored_sha256)
    return replace(some.made[0], members=(fake,))
