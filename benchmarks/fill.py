"""Metrics by the million, written with SQL into a tracking database that MLflow made.

Standard library only: it is sent to the host and runs there, as the user of the server, while the server is stopped.
"""

from __future__ import annotations

import sqlite3
import sys
import uuid
from pathlib import Path

PER_RUN = 20_000
RUN = """
INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id, start_time, artifact_uri)
VALUES (:run, 'bench', 'FINISHED', 'active', 0, :time, 'mlflow-artifacts:/0/' || :run || '/artifacts')
"""
# Values that differ in every digit, as real ones do: they make up most of what compression leaves.
METRICS = """
WITH RECURSIVE steps(step) AS (VALUES(0) UNION ALL SELECT step + 1 FROM steps WHERE step + 1 < :count)
INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT 'loss', abs(random()) / 9.3e18, :time + step, :run, step, 0 FROM steps
"""


def fill(path: Path, size: int) -> int:
    """Add runs until the database has `size` bytes; its size then."""
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript("PRAGMA journal_mode = delete; PRAGMA synchronous = off; PRAGMA cache_size = -262144")
    time = 1_700_000_000_000
    while path.stat().st_size < size:
        values = {"run": uuid.uuid4().hex, "time": time, "count": PER_RUN}
        database.execute("BEGIN")
        database.execute(RUN, values)
        database.execute(METRICS, values)
        database.execute("COMMIT")
        time += PER_RUN
    database.executescript("PRAGMA journal_mode = wal")  # as the server keeps it
    database.close()
    return path.stat().st_size


if __name__ == "__main__":
    print(fill(Path(sys.argv[1]), int(sys.argv[2])))
