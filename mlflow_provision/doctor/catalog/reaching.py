"""The way to the host, hop by hop, and from there to the server's port."""

from __future__ import annotations

from mlflow_provision.doctor.catalog.entry import Entry, Row

GROUP = "The way there"

ENTRIES = (
    Entry(
        "name",
        GROUP,
        "the host's name is known",
        "the host's name is not known",
        Row(
            "the name … is not known",
            "DNS does not know it: a typing error, an instance that was stopped and got another name, or a VPN that "
            "is off.",
            "`ssh -G HOST` shows what becomes of the name. A new address belongs into the deployment file: `host = …`; "
            "an Elastic IP never changes.",
        ),
    ),
    Entry(
        "network",
        GROUP,
        "its SSH port answers",
        "its SSH port does not answer",
        Row(
            "no answer within 10 s; connection refused",
            "No answer: the machine is off, or a firewall (on EC2: the security group) does not let this address in. "
            "Refused: the machine is there, and no sshd listens.",
            "See whether it runs (on EC2: `aws ec2 describe-instances`), and whether port 22 is open for your address; "
            "`ssh -v HOST` shows each step.",
        ),
    ),
    Entry(
        "sshd",
        GROUP,
        "an SSH server speaks there",
        "no SSH server speaks there",
        Row(
            "something answers there, but not an SSH server; it hung up",
            "Another program has the port, sshd allows no more logins at once (MaxStartups), fail2ban has shut you "
            "out, or the machine has run out of memory or disk.",
            "`ssh -v HOST`; if that hangs up too, use the console of your cloud, or restart the machine there.",
        ),
    ),
    Entry(
        "host-key",
        GROUP,
        "it is the host we know",
        "it is not a host we know",
        Row(
            "the host key … is not known",
            "You have never connected to this host.",
            "Compare the fingerprint with the one your cloud's console shows, then say yes, or give "
            "`--accept-new-host-key`.",
        ),
        more=(
            Row(
                "the host key … has CHANGED",
                "The machine was made anew, or somebody sits in between.",
                "Find out which. Only then: `ssh-keygen -R HOST`.",
            ),
        ),
    ),
    Entry(
        "ssh-login",
        GROUP,
        "it lets us in",
        "it does not let us in",
        Row(
            "permission denied (publickey)",
            "No key that the host takes.",
            "`ssh -v HOST`; give `--identity KEY` to `setup`; EC2's user is `ubuntu` or `admin`, by image.",
        ),
    ),
    Entry(
        "sudo",
        GROUP,
        "we may become root there",
        "we may not become root there",
        Row(
            "sudo wants a password, and there is no terminal",
            "Setup needs root on the host.",
            "Run it in a terminal, where it asks; or allow `NOPASSWD` for this user.",
        ),
    ),
    Entry(
        "python",
        GROUP,
        "our program runs there",
        "our program does not run there",
        Row(
            "has no python3; is incomplete; did not run our program",
            "What we do on a host is done by a small Python program: it needs Python 3.9 or newer with its standard "
            "library.",
            "`sudo apt-get install -y python3` on the host.",
        ),
    ),
    Entry(
        "forwarding",
        GROUP,
        "sshd forwards to the server's port",
        "sshd does not forward to the server's port",
        Row(
            "… does not let us forward a port",
            "sshd's configuration forbids it, for all or for this user or key; without it no tunnel can be.",
            "Set `AllowTcpForwarding yes` in `/etc/ssh/sshd_config` on the host (a key in authorized_keys may say "
            "`no-port-forwarding`, too), then `sudo systemctl reload ssh`.",
        ),
    ),
    Entry(
        "tunnel",
        GROUP,
        "the tunnel on this machine works",
        "the tunnel on this machine does not work",
        Row(
            "connection refused on 127.0.0.1, or the page of `mlflow-provision open` stays empty",
            "The tunnel is not open, waits for the link to come back, or the server behind it is down.",
            "`mlflow-provision tunnel NAME` opens it; `mlflow-provision list` shows how it is.",
        ),
        more=(
            Row(
                "`port 5000 on this machine is used by another program`",
                "Something listens on that port on your side.",
                "Leave out `--local-port`: the first free one is taken.",
            ),
        ),
    ),
    Entry(
        "reach",
        GROUP,
        "its port answers from here",
        "its port does not answer from here",
        Row(
            "the browser says that the connection was refused or timed out, and SSH works",
            "The server listens for others, and a firewall (on EC2: the security group) does not let them through; or "
            "it listens on another address.",
            "Open the port for those who need it and nobody else; or use `mlflow-provision tunnel NAME`, which needs "
            "no open port.",
        ),
    ),
    Entry(
        "security-group",
        GROUP,
        "the security group lets in who should, and nobody else",
        "the security group lets in too much, or too little",
        Row(
            "the port is open to the world",
            "A rule of the instance's security group has 0.0.0.0/0 or ::/0 as its source: everybody on the internet "
            "can try passwords, and without HTTPS read what others send.",
            "Take the rule away, or name your own network as its source; people reach the server by "
            "`mlflow-provision tunnel NAME`.",
        ),
    ),
)
