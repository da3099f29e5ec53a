"""Who logs in to an instance: every family of machine images has its own user. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# In this order: a Bitnami image also names the Debian it is made of, and a deep-learning image of Amazon its Ubuntu.
_FAMILIES = (
    ("Windows", r"windows", ""),
    ("Bitnami", r"bitnami", "bitnami"),
    ("Ubuntu", r"ubuntu", "ubuntu"),
    ("Debian", r"debian", "admin"),
    ("Rocky Linux", r"\brocky", "rocky"),
    ("AlmaLinux", r"\balma ?linux", "ec2-user"),
    ("Fedora", r"\bfedora", "fedora"),
    ("CentOS Stream", r"centos[ -]?stream[ -]?(9|1\d)", "ec2-user"),
    ("CentOS", r"centos", "centos"),
    ("Red Hat Enterprise Linux", r"\brhel|red ?hat", "ec2-user"),
    ("SUSE Linux", r"\bsuse|opensuse|\bsles", "ec2-user"),
    ("Oracle Linux", r"oracle ?linux|\bol[789]\b", "ec2-user"),
    ("Amazon Linux", r"\bamzn|amazon[ -]?linux|\bal20\d\d|bottlerocket", "ec2-user"),
)
# Official images whose names need not say what they are.
_OWNERS = {
    "099720109477": "Ubuntu",
    "136693071363": "Debian",
    "379101102735": "Debian",
    "137112412989": "Amazon Linux",
    "309956199498": "Red Hat Enterprise Linux",
    "013907871322": "SUSE Linux",
    "792107900819": "Rocky Linux",
    "764336703387": "AlmaLinux",
    "979382823631": "Bitnami",
}
SUPPORTED = ("Ubuntu", "Debian", "Bitnami", "")  # those that setup may like, and those nobody knows


@dataclass(frozen=True)
class Family:
    """`name` and `user` are empty where nobody knows."""

    name: str = ""
    user: str = ""


def family(owner: str, *texts: str) -> Family:
    """The family of an image by its owner's account, or else by its name, its description, its platform: first wins."""
    users = {name: user for name, _, user in _FAMILIES}
    if owner in _OWNERS:
        return Family(_OWNERS[owner], users[_OWNERS[owner]])
    for text in texts:
        for name, pattern, user in _FAMILIES:
            if re.search(pattern, text, re.IGNORECASE):
                return Family(name, user)
    return Family()
