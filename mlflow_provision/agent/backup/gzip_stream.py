"""Gzip files that flow: packed and unpacked piece by piece, in flat memory."""

from __future__ import annotations

import zlib
from typing import Iterable, Iterator

LEVEL = 1  # of zlib: what is in these databases gets hardly smaller with more, and takes longer
_GZIP = 31  # zlib's window bits for the format of .gz files
_PIECE = 1 << 20


def deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The gzip file of these pieces, in pieces of about a mebibyte."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    ready = bytearray()
    for piece in pieces:
        ready += packer.compress(piece)
        if len(ready) >= _PIECE:
            yield bytes(ready)
            ready.clear()
    ready += packer.flush()
    yield bytes(ready)


def inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What is in the gzip file of these pieces, in pieces of at most a mebibyte, however far they blow up."""
    unpacker = zlib.decompressobj(_GZIP)
    for piece in pieces:
        while piece:
            if unpacker.eof:
                raise zlib.error("something follows the end")
            yield unpacker.decompress(piece, _PIECE)
            piece = unpacker.unconsumed_tail or unpacker.unused_data
    if not unpacker.eof:
        raise EOFError
