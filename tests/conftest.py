"""Ctrl-C means Ctrl-C, and a closed window is one, however the tests were started: what a shell puts into the
background ignores the one, what `nohup` starts the other, and so would every program that the tests start."""

from __future__ import annotations

import signal

for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
