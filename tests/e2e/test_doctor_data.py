"""Databases, disks, files and certificates that are not well: doctor says so, and of nothing else."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e.backed_up import BASE, artifact
from tests.e2e.doctored import examine, finds
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.teamwork import as_admin
from tests.e2e.traces import untouched
from tests.lab import LabHost

DATA, ETC = f"{BASE}/data", f"{BASE}/etc"
DATABASE = f"{DATA}/mlflow.db"
CREATE = "/api/2.0/mlflow/experiments/create"
DOWN = {"service-running", "service-looping", "health"}  # a server that does not start
FRONT = "mlflow.example.test"  # the name of what speaks HTTPS in front of the server


@pytest.fixture(scope="module")
def patient(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with work in it, that is backed up every day."""
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        artifact(served.host, "1/run/artifacts/model.bin", b"precious")
        served.operator.run("backup", "schedule", NAME, "--to", "/var/backups/prod", "--yes")
        served.operator.run("backup", "now", NAME)
        yield served


def content(host: LabHost) -> dict[str, str]:
    """All rows of the databases, and all artifacts."""
    found = {}
    for path in sorted(host.path(DATA).glob("*.db")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found[path.name] = hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()
    for path in sorted(host.path(f"{DATA}/artifacts").rglob("*")):
        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


def test_nothing_is_found_on_a_healthy_host_and_nothing_is_changed(patient: Served) -> None:
    before = content(patient.host)
    with untouched(patient.host, ignoring=DATA):
        for _ in range(2):
            found = examine(patient.operator, code=0)
            assert (found.bad, found.warned) == (set(), set())
            assert "unknown" not in {finding["verdict"] for finding in found.findings}
            assert {found.verdict(check) for check in ("database-schema", "store", "artifact-roundtrip")} == {"ok"}
    assert content(patient.host) == before
    assert len(before) > 4


@finds("secrets-readable", "files-owner", "tmp-litter")
def test_what_others_may_read_what_root_took_and_what_lies_about(patient: Served) -> None:
    host, released = patient.host, patient.host.path("/opt/mlflow/releases")
    host.run(["chmod", "644", f"{ETC}/secrets.env", f"{DATA}/basic_auth.db"])
    host.run(["cp", f"{ETC}/basic_auth.ini", f"{ETC}/basic_auth.ini.bak"])
    host.run(["chmod", "604", f"{ETC}/basic_auth.ini.bak"])
    host.run(["sh", "-c", f"echo x > {DATA}/artifacts/1/by-root; chown root: {DATABASE} {DATA}/artifacts/1/by-root"])
    half, spooled, young = released / "3.9.9-half", f"{DATA}/tmp/tmp-old", f"{DATA}/tmp/tmp-young"
    (half / "lib").mkdir(parents=True)
    host.run(["touch", "-d", "3 days ago", "/opt/mlflow/releases/3.9.9-half/lib", "/opt/mlflow/releases/3.9.9-half"])
    host.run(["touch", young], user=UNIT)
    host.run(["touch", "-d", "3 days ago", spooled], user=UNIT)
    found = examine(patient.operator)
    assert (found.bad, found.warned) == ({"secrets-readable", "files-owner", "drift"}, {"tmp-litter"})
    for path in (f"{ETC}/secrets.env", f"{ETC}/basic_auth.ini.bak", f"{DATA}/basic_auth.db"):
        assert path in found.of("secrets-readable")["evidence"]
    assert f"{DATA}/artifacts/1/by-root" in found.of("files-owner")["evidence"]
    assert "root" in found.of("files-owner")["evidence"]
    assert found.verdict("database-readable") == "skipped"  # it is the owner that is wrong, not the file
    assert spooled in found.of("tmp-litter")["evidence"] and "3.9.9-half" in found.of("tmp-litter")["evidence"]
    mended = examine(patient.operator, "--fix", "--yes", code=0)
    assert (mended.bad, mended.warned) == (set(), set())
    modes = host.run(["stat", "-c", "%a %U", f"{ETC}/secrets.env", f"{ETC}/basic_auth.ini.bak", DATABASE]).stdout
    assert not [line for line in modes.splitlines() if not line.split()[0].endswith("0")], modes
    assert modes.splitlines()[2].endswith(UNIT)
    assert not host.path(spooled).exists() and not half.exists()
    assert host.path(young).exists()  # somebody may be at work on it
    host.run(["rm", f"{ETC}/basic_auth.ini.bak", young])


@contextmanager
def open_in(host: LabHost, statement: str) -> Iterator[None]:
    """Within the block a database is open in another program, which has said this to it."""
    program = f"import sqlite3, time; c = sqlite3.connect('{DATABASE}', isolation_level=None); c.execute('{statement}')"
    argv = ["python3", "-c", f"{program}.fetchall(); open('/run/forgotten', 'w'); time.sleep(600)"]
    host.run(["systemd-run", "--quiet", "--unit=forgotten", *argv])
    try:
        host.run(["sh", "-c", "until test -e /run/forgotten; do sleep 0.05; done"], timeout=20)
        yield
    finally:
        host.run(["systemctl", "stop", "forgotten"])
        host.run(["rm", "-f", "/run/forgotten"])


@finds("database-locked")
def test_a_program_that_somebody_left_open(patient: Served) -> None:
    with open_in(patient.host, "BEGIN IMMEDIATE"):
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"database-locked"}, set())
        pid = patient.host.run(["systemctl", "show", "forgotten", "--property=MainPID", "--value"]).stdout.strip()
        assert "mlflow.db" in found.of("database-locked")["evidence"] and pid in found.of("database-locked")["evidence"]
    with open_in(patient.host, "SELECT count(*) FROM runs"):
        found = examine(patient.operator, code=0)
        assert (found.bad, found.warned) == (set(), {"database-locked"})


@finds("database-readable")
def test_a_damaged_database_is_restored_as_doctor_says(patient: Served) -> None:
    before = content(patient.host)
    patient.operator.run("stop", NAME)
    size = patient.host.path(DATABASE).stat().st_size // 4096
    destroy = [f"of={DATABASE}", "bs=4096", f"seek={size // 4}", f"count={size // 4}", "conv=notrunc"]
    patient.host.run(["dd", "if=/dev/urandom", *destroy])
    patient.operator.run("start", NAME, code=None)
    found = examine(patient.operator)
    assert "database-readable" in found.bad
    assert found.bad <= {"database-readable", "server-errors", *DOWN}, found.amiss
    assert f"restore {NAME}" in found.of("database-readable")["remedy"]
    patient.operator.run("restore", "--latest", NAME, "--yes")
    patient.operator.run("backup", "now", NAME)  # the one before the restore could not be made
    healed = examine(patient.operator, code=0)
    assert (healed.bad, healed.warned) == (set(), set())
    assert content(patient.host) == before


@finds("disk", "inodes", "store")
def test_a_disk_that_is_nearly_full_and_one_that_is(patient: Served) -> None:
    """A small one, that artifacts are on, with room for a hundred files."""
    host, folder = patient.host, f"{DATA}/artifacts"
    owner = host.run(["stat", "-c", "uid=%u,gid=%g,mode=%a", folder]).stdout.strip()
    host.run(["mount", "-t", "tmpfs", "-o", f"size=500m,nr_inodes=100,{owner}", "tmpfs", folder])
    try:
        host.run(["sh", "-c", f"cd {folder}; for n in $(seq 93); do mkdir $n; done; chown -R {UNIT}: ."])
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"disk"}, {"inodes"})
        assert folder in found.of("disk")["evidence"] and "MB" in found.of("disk")["evidence"]
        host.run(["sh", "-c", f"cd {folder}; for n in $(seq 94 110); do mkdir $n || exit 0; done"])
        host.run(["chown", "-R", f"{UNIT}:", folder])
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"disk", "inodes", "store"}, set())
        assert "No space left" in found.of("store")["evidence"]
    finally:
        host.run(["umount", "--lazy", folder])
    examine(patient.operator, code=0)


@finds("artifact-roundtrip")
def test_an_upload_that_the_server_cannot_take_though_its_store_could(patient: Served) -> None:
    """There is no room where it writes: on a disk that nobody sees but the server, which has its own mounts."""
    host, folder = patient.host, f"{DATA}/artifacts"
    pid = host.run(["systemctl", "show", UNIT, "--property=MainPID", "--value"]).stdout.strip()
    inside = ["nsenter", "--mount", "--target", pid, "--"]
    host.run([*inside, "mount", "-t", "tmpfs", "-o", "size=16k,mode=777", "tmpfs", folder])
    try:
        host.run([*inside, "sh", "-c", f"head -c 1M /dev/zero > {folder}/full || exit 0"])
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"artifact-roundtrip"}, set())
        assert "500" in found.of("artifact-roundtrip")["evidence"]
    finally:
        host.run([*inside, "umount", "--lazy", folder])


@finds("old-artifact-uris")
def test_experiments_whose_artifacts_are_elsewhere(patient: Served) -> None:
    with as_admin(patient.operator, NAME) as admin:
        for name, place in (("old", "s3://old-bucket/mlruns/7"), ("new", "mlflow-artifacts:/new")):
            answer = admin.call("POST", CREATE, data={"name": name, "artifact_location": place})
            assert answer.status == 200, answer.text
    found = examine(patient.operator, code=0)
    # That an upload failed, before this test, is in the log of the last hour.
    assert (found.bad, found.warned - {"server-errors"}) == (set(), {"old-artifact-uris"})
    assert "1 experiment" in found.of("old-artifact-uris")["evidence"]
    assert "s3://old-bucket" in found.of("old-artifact-uris")["evidence"]
    with closing(sqlite3.connect(patient.host.path(DATABASE))) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/7' WHERE name = 'old'")
        connection.commit()
    patient.host.run(["chown", f"{UNIT}:", DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"], check=False)


@contextmanager
def front(host: LabHost, first: timedelta, last: timedelta) -> Iterator[Path]:
    """Within the block something speaks HTTPS in front of the server, with a certificate of its own that is valid
    from now plus `first` to now plus `last`. Where the host finds the certificate."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, FRONT)])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now + first).not_valid_after(now + last)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(FRONT)]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    path = host.path("/usr/local/share/ca-certificates/front.crt")
    path.write_bytes(pem)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    host.path("/root/front.pem").write_bytes(pem + private)
    program = (
        "import http.server, ssl; s = http.server.HTTPServer(('', 443), http.server.SimpleHTTPRequestHandler); "
        "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('/root/front.pem'); "
        "s.socket = c.wrap_socket(s.socket, server_side=True); s.serve_forever()"
    )
    host.run(["systemd-run", "--quiet", "--unit=front", "python3", "-c", program])
    try:
        host.run(["sh", "-c", "until ss -Hltn sport = 443 | grep -q LISTEN; do sleep 0.05; done"], timeout=20)
        yield path
    finally:
        host.run(["systemctl", "stop", "front"])
        path.unlink()


@finds("certificate")
def test_the_certificate_of_what_speaks_https_for_the_server(patient: Served) -> None:
    patient.operator.run("setup", NAME, "--allowed-host", FRONT, "--yes")
    assert examine(patient.operator, code=0).verdict("certificate") == "skipped"
    trust, day = ["update-ca-certificates", "--fresh"], timedelta(days=1)
    for first, last, verdict, word in (
        (-400 * day, -2 * day, "bad", "expired"),
        (2 * day, 90 * day, "bad", "not yet valid"),
        (-1 * day, 90 * day, "ok", "90"),
        (-1 * day, 15 * day, "warn", "15"),
        (-1 * day, 5 * day, "bad", "5"),
    ):
        with front(patient.host, first, last):
            patient.host.run(trust)
            found = examine(patient.operator)
            assert found.bad | found.warned == ({"certificate"} if verdict != "ok" else set())
            assert found.verdict("certificate") == verdict
            evidence = found.of("certificate")["evidence"]
            assert FRONT in evidence and word in evidence, evidence
    with front(patient.host, -1 * day, 90 * day):
        patient.host.run(["rm", "-f", "/etc/ssl/certs/front.pem"])
        patient.host.run(["sh", "-c", "find /etc/ssl/certs -xtype l -delete"])
        found = examine(patient.operator)
        assert (found.bad, found.warned) == ({"certificate"}, set())
        assert "self" in found.of("certificate")["evidence"]  # whoever signed it is not trusted
    patient.host.run(trust)
