"""Ctrl-C means Ctrl-C, however the tests were started: what a shell puts into the background ignores it, and so would
every program that the tests start."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
