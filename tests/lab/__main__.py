"""Real hosts by hand: `python -m tests.lab up | ssh | down | list | gc`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import suppress

from tests.lab.availability import install_missing_programs, why_unavailable
from tests.lab.claims import places, sweep
from tests.lab.host import LabHost
from tests.lab.image import Image
from tests.lab.program import LabError, ProgramFailed


def up(options: argparse.Namespace) -> None:
    if sys.platform == "linux" and os.geteuid() == 0:
        install_missing_programs()
    if reason := why_unavailable():
        raise LabError(reason)
    began = time.monotonic()
    host = LabHost(options.name, image=Image(suite=options.suite).including(*options.include))
    host.start().keep()
    print(f"{host.name} is up at {host.address} after {time.monotonic() - began:.1f} s. Reach it with:")
    print(f"  ssh -F {host.ssh_config} {host.name}")
    print(f"Its files are in {host.path('/')}. End it with:")
    print(f"  python -m tests.lab down {host.name}")


def ssh(options: argparse.Namespace) -> None:
    host = LabHost.find(options.name)
    os.execvp("ssh", ["ssh", "-F", str(host.ssh_config), host.name, *options.command])


def down(options: argparse.Namespace) -> None:
    LabHost.find(options.name).remove()


def show(_: argparse.Namespace) -> None:
    for place in places():
        with suppress(FileNotFoundError):  # it is being made, or removed
            state = "up" if place.group.leader() else "stopped"
            owner = "kept" if place.kept else "of a test run"
            print(f"{place.name:20} {place.network.address:14} {state:8} {owner}")


def collect_garbage(_: argparse.Namespace) -> None:
    for name in sweep():
        print(f"removed {name}, left by a run that was killed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("up", help="make a host that stays until `down`")
    command.add_argument("--name", help="default: lab1, lab2, …")
    command.add_argument("--suite", default="", help="release to install (default: this machine's own)")
    command.add_argument("--include", nargs="*", default=[], metavar="PACKAGE", help="more packages")
    command.set_defaults(action=up)

    command = commands.add_parser("ssh", help="log in, or run a command")
    command.add_argument("name")
    command.add_argument("command", nargs=argparse.REMAINDER)
    command.set_defaults(action=ssh)

    command = commands.add_parser("down", help="end a host and delete it")
    command.add_argument("name")
    command.set_defaults(action=down)

    commands.add_parser("list", help="all hosts of the lab").set_defaults(action=show)
    commands.add_parser("gc", help="remove what killed runs left").set_defaults(action=collect_garbage)

    options = parser.parse_args()
    try:
        options.action(options)
    except (LabError, ProgramFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
