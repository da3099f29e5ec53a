"""The files of a blank machine: built once by mmdebstrap, found again by the hash of its recipe."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.lab.places import delete_tree, exclusive, lab_dir
from tests.lab.program import LabError, run

SUDO_PASSWORD = "lab-sudo-password"
USERS = ("operator", "nosudo", "askpass")

BLANK = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "ca-certificates", "iproute2", "curl",
)  # fmt: skip
EXTRA_CERTIFICATES = Path("/usr/local/share/ca-certificates")

FILES = {
    "etc/ssh/sshd_config.d/lab.conf": "PasswordAuthentication no\nPermitRootLogin no\n",
    "etc/sudoers.d/lab": "operator ALL=(ALL:ALL) NOPASSWD: ALL\naskpass ALL=(ALL:ALL) ALL\n",
}

# Timers that wake up during a test, hold the dpkg lock and write files are off; so is the console's login.
SETUP = f"""
for user in {" ".join(USERS)}; do
    getent group $user >/dev/null || groupadd $user
    useradd --create-home --shell /bin/bash --gid $user $user
    install -d -m 0700 -o $user -g $user /home/$user/.ssh
    install -m 0600 -o $user -g $user /root/lab-key.pub /home/$user/.ssh/authorized_keys
done
echo 'askpass:{SUDO_PASSWORD}' | chpasswd
chmod 0440 /etc/sudoers.d/lab
rm -f /root/lab-key.pub /etc/ssh/ssh_host_*_key* /etc/hostname /etc/machine-id /etc/resolv.conf
rm -f /etc/systemd/system/timers.target.wants/*.timer
ln -sf /dev/null /etc/systemd/system/console-getty.service
update-ca-certificates
"""


@dataclass(frozen=True)
class Image:
    """What a host is made of. An empty suite means the release that this machine itself runs."""

    suite: str = ""
    include: tuple[str, ...] = (*BLANK, "python3")

    def including(self, *packages: str) -> Image:
        return replace(self, include=(*self.include, *packages))


WITHOUT_PYTHON = Image(include=BLANK)


def build(image: Image) -> Path:
    """The folder of the image; built now if this recipe was never built here."""
    image = replace(image, suite=image.suite or own_suite())
    mirror = mirror_for(image.suite)
    certificates = {path.name: path.read_text() for path in sorted(EXTRA_CERTIFICATES.glob("*.crt"))}
    public_key = client_key().with_suffix(".pub").read_text()
    recipe = json.dumps([asdict(image), mirror, FILES, SETUP, certificates, public_key])
    folder = lab_dir() / "images" / f"{image.suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    with exclusive(folder.with_suffix(".lock")) as lock:
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            delete_tree(partial)
            # mmdebstrap holds the lock too: should we be killed, it still writes there
            run(["mmdebstrap", "--variant=minbase", f"--include={','.join(image.include)}",
                 image.suite, str(partial), mirror], pass_fds=[lock])  # fmt: skip
            inside = {f"{EXTRA_CERTIFICATES.relative_to('/')}/{name}": text for name, text in certificates.items()}
            for name, text in {**FILES, **inside, "root/lab-key.pub": public_key}.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_text(text)
            run(["chroot", str(partial), "sh", "-e", "-c", SETUP])
            partial.rename(folder)
    return folder


def client_key() -> Path:
    """The private key that every user of every lab host lets in."""
    key = lab_dir() / "client-key" / "id_ed25519"
    with exclusive(key.parent.with_suffix(".lock")):
        if not key.exists():
            key.parent.mkdir(mode=0o700, exist_ok=True)
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "mlflow-lab", "-f", str(key)])
    return key


def own_suite() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def mirror_for(suite: str) -> str:
    """The package archive that this machine's own apt uses, for `suite` or else for its own release."""
    # apt itself is asked, so every way of writing sources is understood
    listed = run(["apt-get", "update", "--print-uris"], check=False).stdout
    archives: dict[str, str] = {}
    for uri, release in re.findall(r"^'(\S+?)/dists/(\S+)/InRelease'", listed, re.MULTILINE):
        archives.setdefault(release, uri)
    mirror = archives.get(suite) or archives.get(own_suite())
    if mirror is None:
        raise LabError(f"apt's sources on this machine name no archive for {suite} or {own_suite()}")
    if mirror.startswith("mirror+file:"):  # a list of mirrors, which a new image does not have
        return Path(mirror.removeprefix("mirror+file:")).read_text().split()[0]
    return mirror
