"""What docs/backup-and-restore.md tells people to do without us works, and what it says about pruning is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from mlflow_provision.agent.backup.retention import Stamp, decide
from mlflow_provision.agent.backup.settings import Keep
from mlflow_provision.backup_keys import from_passphrase, kdf_for

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backup-and-restore.md").read_text()
PASSPHRASE = "correct horse battery stäple"


def test_the_key_of_a_passphrase_is_found_with_the_standard_library_alone(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    kdf = kdf_for("s3://our-bucket/mlflow-backups", "prod")
    (tmp_path / "manifest.json").write_text(json.dumps({"manifest": {"encryption": {"kdf": kdf}}}))
    typed = f"import getpass; getpass.getpass = lambda _: {PASSPHRASE!r}\n"
    argv = [sys.executable, "-I", "-c", typed + program]
    printed = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    assert printed.strip() == from_passphrase(PASSPHRASE, kdf)


def test_the_example_of_what_is_kept() -> None:
    """A backup every night up to Sunday, 22 November 2026."""
    nights = [
        datetime(2026, month, day, 3, tzinfo=timezone.utc)
        for month, days in ((10, 31), (11, 22))
        for day in range(1, days + 1)
    ]
    stamps = [Stamp(f"{night:%m-%d}", number, night.timestamp(), True) for number, night in enumerate(nights)]
    kept = {decision.id: decision.reasons for decision in decide(stamps, Keep(3, 7, 4, 0)) if decision.keep}
    (table,) = re.findall(r"today is Sunday the 22nd.*?\n\n", PAGE, flags=re.DOTALL)
    days = [day for row in table.strip().splitlines()[2:] for day in re.findall(r"\d+", row.split("|")[1])]
    assert [f"11-{int(day):02}" for day in days] == list(kept)
    assert sum("week" in reason for reasons in kept.values() for reason in reasons) == 4
