"""The service and its process, on the host."""

from __future__ import annotations

from mlflow_provision.doctor.catalog.entry import APPLY, REINSTALL, START, Entry, Row

GROUP = "The server"

ENTRIES = (
    Entry(
        "service-installed",
        GROUP,
        "it is installed",
        "it is not installed as it should be",
        Row(
            "the unit mlflow-NAME.service could not be found",
            "Nothing was set up on this host, or somebody removed a part of it.",
            "`mlflow-provision setup NAME`; data that are there stay.",
        ),
        APPLY,
    ),
    Entry(
        "service-running",
        GROUP,
        "it runs",
        "it does not run",
        Row(
            "nothing answers, and `status` says that it is not running",
            "Somebody stopped it; or, in user scope, the machine was restarted: nobody starts it there.",
            "`mlflow-provision start NAME`; if it dies again, `mlflow-provision logs NAME --errors` says why.",
        ),
        START,
        (
            Row(
                "the server started and died",
                "The last lines of its log follow.",
                "They say why; `mlflow-provision logs NAME --errors`, or `sudo journalctl -u mlflow-NAME -n 200` on "
                "the host, has all of them.",
            ),
        ),
    ),
    Entry(
        "service-looping",
        GROUP,
        "it stays up",
        "it starts again and again",
        Row(
            "it starts, answers for a moment, and starts again",
            "It dies during or soon after its start, and systemd starts it again: an unreadable database, a missing "
            "package, too little memory, a changed file.",
            "`mlflow-provision logs NAME --errors` shows what it says before it dies; `mlflow-provision plan NAME` "
            "what was changed.",
        ),
    ),
    Entry(
        "memory-killed",
        GROUP,
        "the kernel let it live",
        "the kernel killed it for want of memory",
        Row(
            "the server is gone for some seconds now and then; `dmesg` says “Out of memory: Killed process”",
            "The host has too little memory for what runs on it. One worker takes 0.45 GB, job runners 1 GB more.",
            "Fewer workers or no job runners (`mlflow-provision setup NAME --workers 1 --no-jobs`), a larger instance, "
            "or swap.",
        ),
    ),
    Entry(
        "port-taken",
        GROUP,
        "its port is its own",
        "another program has its port",
        Row(
            "port 5000 is used by …",
            "Something else listens there.",
            "`--port`, as the message proposes: `mlflow-provision setup NAME --port 5001`.",
        ),
    ),
    Entry(
        "port-open",
        GROUP,
        "only those who should can reach its port",
        "its port is open to everybody",
        Row(
            "the server listens on 0.0.0.0",
            "Everybody who can reach this host can try passwords, and without HTTPS read what others send.",
            "`mlflow-provision setup NAME --listen 127.0.0.1`, and `mlflow-provision tunnel NAME` to reach it; or a "
            "security group that lets in your own network only.",
        ),
    ),
    Entry(
        "health",
        GROUP,
        "it answers",
        "it does not answer",
        Row(
            "the process runs, and the page does not load; `/health` does not answer",
            "It is still starting (up to a minute on a small host), its workers die one after the other, or it is "
            "stuck waiting for the database.",
            "`mlflow-provision logs NAME --errors`, then `mlflow-provision restart NAME`.",
        ),
    ),
    Entry(
        "server-errors",
        GROUP,
        "its log has no recent errors",
        "its log has recent errors",
        Row(
            "500 Internal Server Error",
            "The store refuses (credentials, bucket, clock), the database is locked or of another version, or the "
            "disk is full: the log says which.",
            "`mlflow-provision logs NAME --errors --since 1h`",
        ),
    ),
    Entry(
        "venv-broken",
        GROUP,
        "its Python environment is whole",
        "its Python environment is broken",
        Row(
            "No module named …, or: bin/python: No such file or directory",
            "An upgrade of the operating system replaced the Python that the environment was made with, or somebody "
            "changed the files in it.",
            "`mlflow-provision doctor NAME --fix` installs the same release again; data are not touched.",
        ),
        REINSTALL,
    ),
    Entry(
        "mlflow-old",
        GROUP,
        "its MLflow is recent",
        "its MLflow is old",
        Row(
            "an old MLflow",
            "An old version lacks fixes of security holes, and newer clients may not understand it.",
            "`mlflow-provision upgrade NAME --dry-run` rehearses it on a copy of the database.",
        ),
    ),
    Entry(
        "upgrade-unfinished",
        GROUP,
        "no upgrade is half done",
        "an upgrade is half done",
        Row(
            "an upgrade was interrupted",
            "The host went down in the middle of it; the old release and the old databases are kept until it is over.",
            "`mlflow-provision rollback NAME` takes back what it had begun, and nothing more; then upgrade again.",
        ),
    ),
    Entry(
        "move-unfinished",
        GROUP,
        "no move of artifacts is half done",
        "a move of artifacts is half done",
        Row(
            "a move of artifacts was interrupted",
            "The host went down in the middle of it; what the database says of places may not be proved.",
            "`mlflow-provision move-artifacts NAME` takes back what is unproved, and goes on.",
        ),
    ),
    Entry(
        "rotation-unfinished",
        GROUP,
        "no rotation of secrets is half done",
        "a rotation of the server's secrets is half done",
        Row(
            "`rotate secret` was interrupted",
            "The host went down, or the connection broke; keys of the AI gateway may not open meanwhile.",
            "`mlflow-provision rotate secret NAME` again: it goes on, or back.",
        ),
    ),
    Entry(
        "drift",
        GROUP,
        "it is as the deployment file says",
        "it is not as the deployment file says",
        Row(
            "something on the host is not as it was set up",
            "Somebody changed it by hand, or the deployment file was changed and not applied yet.",
            "`mlflow-provision plan NAME` shows what differs, `mlflow-provision setup NAME` puts it right.",
        ),
        APPLY,
    ),
)
