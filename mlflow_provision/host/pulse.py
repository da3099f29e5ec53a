"""Notices a host that fell silent: TCP tells of a dead link to us, but not of one behind a gateway."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

EVERY = 10.0  # seconds; also gives TCP something to miss when the link is dead
PATIENCE = 60.0  # for a host with too little memory, and for answers that queue behind an upload


def watch(transport: Any) -> None:
    """Close a paramiko transport when its host no longer answers."""
    threading.Thread(target=_watch, args=(transport,), daemon=True).start()


def _watch(transport: Any) -> None:
    time.sleep(EVERY)
    while transport.is_active():
        alarm = threading.Timer(PATIENCE, transport.close)
        alarm.daemon = True
        alarm.start()
        with contextlib.suppress(Exception):  # whoever uses the connection learns of its end
            transport.global_request("keepalive@openssh.com", wait=True)  # any answer will do; OpenSSH says no
        alarm.cancel()
        time.sleep(EVERY)
