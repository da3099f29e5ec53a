"""What a host is called in messages, and how to type a command for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Where:
    label: str = "this machine"
    ssh: str = ""  # "ssh -i key user@host"; empty: here
    user: str = ""

    def command(self, text: str, terminal: bool = False) -> str:
        """`text` as a person types it to run it there."""
        ssh = self.ssh.replace("ssh ", "ssh -t ", 1) if terminal else self.ssh
        return f"{ssh} {text}".strip()

    def as_root(self, text: str) -> str:
        """The same for a command that only root may run."""
        return self.command(text) if self.user == "root" else self.command(f"sudo {text}", terminal=True)
