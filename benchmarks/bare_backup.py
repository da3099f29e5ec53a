"""What a careful script does: `VACUUM INTO`, gzip, boto3's upload_file. Nothing is checked, listed or pruned.

Sent to the host, where it runs with the Python of the server, which has boto3.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any


def back_up(order: dict[str, Any]) -> None:
    """One database, into one object."""
    scratch = Path(order["scratch"])
    copy, packed = scratch / "mlflow.db", scratch / "mlflow.db.gz"
    for left in (copy, packed):
        left.unlink(missing_ok=True)
    database = sqlite3.connect(order["database"])
    database.execute("VACUUM INTO ?", (str(copy),))
    database.close()
    with copy.open("rb") as source, gzip.open(packed, "wb", compresslevel=order["level"]) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    copy.unlink()
    _client(order).upload_file(str(packed), order["bucket"], f"bare/{os.getpid()}/mlflow.db.gz")
    packed.unlink()


def _client(order: dict[str, Any]) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=order["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=order["key"],
        aws_secret_access_key=order["secret"],
    )


if __name__ == "__main__":
    back_up(json.loads(Path(sys.argv[1]).read_text()))
