"""An upload in parts: an object of any size, of which a few parts are in memory. It exists when it is complete."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Mapping

from mlflow_provision.agent.s3.bucket import Bucket, content_md5
from mlflow_provision.agent.s3.error import S3Error, element

PART = 8 << 20
_MOST_PARTS = 10_000  # S3's limit
_EXPECTED_PARTS = 9_000  # what is expected is a guess
_GROWS_AFTER = 8_000  # parts; then they get larger, for those of whom nobody knew how large they would be
_GROWTH = 16


def part_size(expected: int, number: int = 1) -> int:
    """Bytes of part `number` (from 1 on) of an object of roughly `expected` bytes.

    All are equally large, as some stores demand, as long as there are not many more than was expected.
    """
    mebibyte = 1 << 20
    size = max(PART, -(-expected // (_EXPECTED_PARTS * mebibyte)) * mebibyte)
    return size if number <= max(_GROWS_AFTER, -(-expected // size)) else size * _GROWTH


@dataclass
class Upload:
    """One such upload; `id` is the store's name for it."""

    bucket: Bucket
    key: str
    id: str
    _tags: dict[int, str] = field(default_factory=dict)
    _size: int = 0

    @classmethod
    def begin(cls, bucket: Bucket, key: str) -> Upload:
        answer = bucket.call("POST", key, query={"uploads": ""})
        return cls(bucket, key, element(answer.text, "UploadId"))

    def part(self, number: int, body: bytes) -> None:
        """Store a part; different ones may go at the same time. Its SHA-256 is in the signature of the request."""
        query = {"partNumber": str(number), "uploadId": self.id}
        try:
            answer = self.bucket.call("PUT", self.key, query=query, body=body)
        except S3Error as error:
            if "Content-MD5" not in error.message:
                raise
            # A bucket whose objects are locked wants this one too.
            answer = self.bucket.call("PUT", self.key, query=query, body=body, headers=content_md5(body))
        self._tags[number] = answer.headers.get("etag", "")
        self._size += len(body)

    def copied_part(self, number: int, origin: Mapping[str, str], start: int, end: int) -> None:
        """Let the store take a part from another object of its own: bytes `start` to before `end` of `origin`."""
        query = {"partNumber": str(number), "uploadId": self.id}
        headers = {**origin, "x-amz-copy-source-range": f"bytes={start}-{end - 1}"}
        answer = self.bucket.call("PUT", self.key, query=query, headers=headers)
        self._tags[number] = element(answer.text, "ETag")
        self._size += end - start

    def complete(self) -> None:
        """Make an object of the parts."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
            for number, tag in sorted(self._tags.items())
        )
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'
        try:
            self.bucket.call("POST", self.key, query={"uploadId": self.id}, body=body.encode())
        except S3Error as error:
            # The answer to an earlier attempt was lost on its way to us.
            if error.code != "NoSuchUpload" or not self._exists():
                raise

    def abort(self) -> None:
        """Take back the parts that are stored."""
        try:
            self.bucket.call("DELETE", self.key, query={"uploadId": self.id})
        except S3Error as error:
            if error.status != 404:
                raise

    def _exists(self) -> bool:
        return any(found.key == self.key and found.size == self._size for found in self.bucket.find(self.key))
