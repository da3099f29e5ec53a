"""Who may enter: 401, 403, passwords, certificates, secrets."""

from __future__ import annotations

from mlflow_provision.doctor.catalog.entry import APPLY, Entry, Row

GROUP = "Who may enter"

ENTRIES = (
    Entry(
        "host-check",
        GROUP,
        "it takes the names it is reached by",
        "it refuses a name that it is reached by",
        Row(
            "403 “Invalid Host header” in the browser",
            "You use a name the server does not know.",
            "`mlflow-provision setup NAME --allowed-host that.name`",
        ),
    ),
    Entry(
        "origin-check",
        GROUP,
        "its web page may change things",
        "its web page cannot change anything",
        Row(
            "403 “Cross-origin request blocked”",
            "You use a name the server does not know, or a page of another site asks.",
            "`mlflow-provision setup NAME --allowed-host that.name`",
        ),
    ),
    Entry(
        "login",
        GROUP,
        "it takes our password, and no other",
        "it does not take our password",
        Row(
            "401 for the administrator with the stored password",
            "Somebody changed it on the server, or this machine has an old secrets file.",
            "Write the right one to NAME.secrets.toml; if it is lost: `mlflow-provision user password ADMIN NAME "
            "--reset`.",
        ),
        more=(
            Row(
                "401 from a script",
                "It has no login, or the password was changed since.",
                '`eval "$(mlflow-provision env NAME)"` before it.',
            ),
        ),
    ),
    Entry(
        "default-password",
        GROUP,
        "no user has a password that everybody knows",
        "a user has a password that everybody knows",
        Row(
            "a user's password is `password`, `password1234`, or the user's name",
            "Older versions of MLflow, and many guides, begin with such a one.",
            "`mlflow-provision user password USER NAME`",
        ),
    ),
    Entry(
        "weak-password",
        GROUP,
        "the administrator's password is a strong one",
        "the administrator's password can be guessed",
        Row(
            "the administrator's password can be guessed",
            "It is short, a well-known one, or made of the user's name: basic auth does not slow guessing down.",
            "`mlflow-provision rotate password NAME`",
        ),
    ),
    Entry(
        "secrets-readable",
        GROUP,
        "its secrets can be read by nobody else",
        "its secrets can be read by others",
        Row(
            "files with secrets can be read by others on the host",
            "Somebody changed their permissions, or copied them.",
            "`mlflow-provision doctor NAME --fix` closes them; change what may have been read: "
            "`mlflow-provision rotate password NAME`, `rotate aws`, `rotate secret`.",
        ),
        APPLY,
    ),
    Entry(
        "credentials-here",
        GROUP,
        "this machine has the secrets of the deployment",
        "this machine lacks secrets of the deployment",
        Row(
            "the AWS profile is not there; a secret is missing; others can open the secrets file",
            "The deployment file came to this machine without them, or `~/.aws` was changed.",
            "`chmod 600` for a file that is open, which `--fix` does; else copy NAME.secrets.toml from where it was "
            "set up, or `aws configure --profile PROFILE`.",
        ),
    ),
    Entry(
        "certificate",
        GROUP,
        "its certificate is valid",
        "its certificate is not valid, or not for long",
        Row(
            "the browser warns of the certificate; clients say CERTIFICATE_VERIFY_FAILED",
            "It is over, or not valid yet: it was not renewed, or a clock is wrong.",
            "See why it is not renewed in the log of whoever renews it, and renew it now.",
        ),
    ),
)
