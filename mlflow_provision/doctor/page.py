"""docs/troubleshooting.md, from the catalog: `python -m mlflow_provision.doctor.page > docs/troubleshooting.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from mlflow_provision.doctor.catalog import CATALOG, GROUPS, MESSAGES, Entry, Row

_HEAD = """\
# Troubleshooting

```
mlflow-provision doctor NAME          # looks at everything below, and says what it saw, why, and what to do
mlflow-provision doctor NAME --fix    # puts right what can be put right safely, after showing it
```

This page is what `doctor` knows. The last column is the name of its check, with a ✓ where `--fix` can mend it; rows
without one are messages of other commands.

Every error says what failed, where and why, and what to type next. Exit codes are in
[Commands](commands.md#exit-codes). `--debug` adds the traceback. Whatever happened, running the same command again
continues where it stopped.
"""

_TAIL = """\
## A look inside

```
mlflow-provision status NAME                 # running, healthy, memory, restarts
mlflow-provision plan NAME                   # what differs from the deployment file
mlflow-provision verify NAME --no-kill       # everything, without the crash test
mlflow-provision backup list NAME            # which backups there are, which were verified
mlflow-provision logs NAME --errors          # tracebacks of its log, whole
ssh HOST sudo journalctl -u mlflow-NAME -f   # its log; in user scope ~/mlflow/NAME/server.log
ssh HOST sudo journalctl -u mlflow-NAME-backup -n 50   # that of the scheduled backups
```
"""


def page() -> str:
    """All of the page."""
    tables = [_table(group, list(_rows_of(group))) for group in GROUPS]
    tables += [_table(title, [(row, None) for row in rows]) for title, rows in MESSAGES.items()]
    return "\n".join([_HEAD, *tables, _TAIL])


def _rows_of(group: str) -> Iterator[tuple[Row, Entry | None]]:
    for entry in CATALOG.values():
        if entry.group == group:
            yield from ((row, entry) for row in entry.rows)


def _table(title: str, rows: list[tuple[Row, Entry | None]]) -> str:
    checked = any(entry for _, entry in rows)
    head = ["what you see", "why", "what to do", *(["check"] if checked else [])]
    lines = [f"## {title}", "", _line(head), _line(["---"] * len(head)).replace(" ", "")]
    lines += [_line([row.symptom, row.why, row.remedy, *([_check(entry)] if entry else [])]) for row, entry in rows]
    return "\n".join([*lines, ""])


def _check(entry: Entry) -> str:
    return f"`{entry.id}`" + (" ✓" if entry.fix else "")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(page())
