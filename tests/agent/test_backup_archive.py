"""A pack is a tar that any tar opens, and that we take apart however it arrives."""

from __future__ import annotations

import io
import tarfile

import pytest

from mlflow_provision.agent.backup.artifacts import archive


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 100_000])
def test_a_pack_is_taken_apart_however_it_arrives(step: int) -> None:
    content = {b"a": b"x" * 700, b"n" * 300: b"", b"\xff": b"y" * 512, b"last": b"z"}
    whole = b"".join(
        archive.header(path, len(data), 10**18, 0o644) + data + archive.padding(len(data))
        for path, data in content.items()
    )
    whole += archive.END
    with tarfile.open(fileobj=io.BytesIO(whole), encoding="utf-8", errors="surrogateescape") as tar:
        assert [info.name.encode("utf-8", "surrogateescape") for info in tar] == list(content)
    found: list[bytearray] = []
    unpacking = archive.Unpacking(
        lambda number, size: found.append(bytearray()), lambda piece: found[-1].extend(piece), lambda: None
    )
    for start in range(0, len(whole), step):
        unpacking(whole[start : start + step])
    assert unpacking.complete
    assert [bytes(data) for data in found] == list(content.values())


def test_sizes_that_do_not_fit_into_eleven_digits() -> None:
    sizes: list[int] = []
    unpacking = archive.Unpacking(lambda number, size: sizes.append(size), lambda piece: None, lambda: None)
    unpacking(archive.header(b"large", 50 << 30, 2**70, 0o600))
    assert sizes == [50 << 30]
