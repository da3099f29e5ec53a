"""Start scripts as people write them, read and never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.agent.adoption.options import options
from mlflow_provision.agent.adoption.script import ServerCommand, of_arguments, server_command

HOME = "/home/ubuntu"
TREE = f"{HOME}/mlflow-server"
SCRIPT = f"{TREE}/start_mlflow_server.sh"


def read(text: str, **files: str) -> ServerCommand:
    """The server in a script; `files` are others in its folder, `_` standing for a dot."""
    texts = {SCRIPT: text, **{f"{TREE}/{name.replace('_', '.')}": content for name, content in files.items()}}
    found = server_command(SCRIPT, lambda path: texts.get(path, ""), {"HOME": HOME, "USER": "ubuntu"}, "/")
    assert found is not None
    return found


def said(text: str, **files: str) -> dict[str, str]:
    command = read(text, **files)
    return options(command.argv, command.environment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mlflow server --host 0.0.0.0 -p 5050", {"--host": "0.0.0.0", "--port": "5050"}),
        ("mlflow server --host=1.2.3.4 --port=1", {"--host": "1.2.3.4", "--port": "1"}),
        ("mlflow server \\\n  --port \\\n  5050 \\\n  --host ::", {"--port": "5050", "--host": "::"}),
        ("mlflow server --port 5050 # --port 1", {"--port": "5050"}),
        ("# mlflow server --port 1\nmlflow server --port 2", {"--port": "2"}),
        ("P=5050\nmlflow server --port $P", {"--port": "5050"}),
        ("P=50; mlflow server --port ${P}50", {"--port": "5050"}),
        ('P=5050 Q=$P\nmlflow server --port "$Q"', {"--port": "5050"}),
        ("mlflow server --port ${PORT:-5050}", {"--port": "5050"}),
        ("PORT=1\nmlflow server --port ${PORT:-5050}", {"--port": "1"}),
        ("B=b\nmlflow server --artifacts-destination ${D:-s3://$B/p}", {"--artifacts-destination": "s3://b/p"}),
        ("export A=1 P=5050\nmlflow server --port $P", {"--port": "5050"}),
        ("declare -x P=5050\nmlflow server --port $P", {"--port": "5050"}),
        ("P='$NO'\nmlflow server --artifacts-destination $P", {"--artifacts-destination": "$NO"}),
        ("mlflow server --artifacts-destination 'a b'", {"--artifacts-destination": "a b"}),
        ('X="a b"\nmlflow server --artifacts-destination "$X"', {"--artifacts-destination": "a b"}),
        ("mlflow server --artifacts-destination a\\ b", {"--artifacts-destination": "a b"}),
        ('O="--host ::  --port 1"\nmlflow server $O', {"--host": "::", "--port": "1"}),
        ('O=(--host :: --port 1)\nmlflow server "${O[@]}"', {"--host": "::", "--port": "1"}),
        ("O=()\nO+=(--port\n1)\nmlflow server ${O[@]}", {"--port": "1"}),
        ("mlflow server --artifacts-destination ~/art", {"--artifacts-destination": f"{HOME}/art"}),
        ("mlflow server --artifacts-destination $HOME/art", {"--artifacts-destination": f"{HOME}/art"}),
        ("exec nohup mlflow server --port 1 >> log 2>&1 &", {"--port": "1"}),
        ("mlflow server --port 1 &> log", {"--port": "1"}),
        ("mlflow server --port 1 2>/dev/null | tee -a log", {"--port": "1"}),
        ("cd x && mlflow server --port 1 || exit 1", {"--port": "1"}),
        ("if true; then\n  mlflow server --port 1\nfi", {"--port": "1"}),
        ("while true; do mlflow server --port 1; sleep 1; done", {"--port": "1"}),
        ("(mlflow server --port 1)", {"--port": "1"}),
        ("env A=b MLFLOW_PORT=1 mlflow server", {"--port": "1"}),
        ("MLFLOW_PORT=1 mlflow server", {"--port": "1"}),
        ("export MLFLOW_PORT=1\nmlflow server", {"--port": "1"}),
        ("export MLFLOW_PORT=1\nmlflow server --port 2", {"--port": "2"}),
        ("bash -c 'mlflow server --port 1'", {"--port": "1"}),
        ('su - ubuntu -c "mlflow server --port 1"', {"--port": "1"}),
        ("/opt/v/bin/python -m mlflow server --port 1", {"--port": "1"}),
        ("mlflow ui -p 1", {"--port": "1"}),
        ("mlflow server --serve-artifacts --port 1", {"--serve-artifacts": "true", "--port": "1"}),
        ("cat <<END > f\nmlflow server --port 9\nEND\nmlflow server --port 1", {"--port": "1"}),
        ("cat <<-'END'\n\tmlflow server --port 9\n\tEND\nmlflow server --port 1", {"--port": "1"}),
        ('echo "mlflow server --port 9"\nmlflow server --port 1', {"--port": "1"}),
        ("rm -rf /\nmlflow server --port 1", {"--port": "1"}),
        ("mlflow server --port $(cat /etc/port)", {}),
        ("mlflow server --port `cat /etc/port` --host ::", {"--host": "::"}),
        ("mlflow server\r\n", {}),
    ],
)
def test_options(text: str, expected: dict[str, str]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        'cd "$(dirname "$0")"\nmlflow server',
        'DIR="$( cd "$( dirname "${BASH_SOURCE[0]}" )" && pwd )"\ncd $DIR\nmlflow server',
        "cd ~/mlflow-server\nmlflow server",
        'cd "$HOME"/mlflow-server; mlflow server',
        "cd `dirname $0`\nmlflow server",
    ],
)
def test_the_folder_it_runs_in(text: str) -> None:
    assert read(text).folder == TREE


def test_files_of_variables_are_read() -> None:
    text = 'cd "$(dirname "$0")"\nset -a\n. ./_env\nset +a\nsource conf.sh\nmlflow server --port $PORT --host $ADDRESS'
    found = options(*_parts(text, {f"{TREE}/_env": "PORT=5050 # c\n", f"{TREE}/conf.sh": "export ADDRESS=::\n"}))
    assert found == {"--port": "5050", "--host": "::"}


def _parts(text: str, files: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    texts = {SCRIPT: text, **files}
    found = server_command(SCRIPT, lambda path: texts.get(path, ""), {"HOME": HOME}, "/")
    assert found is not None
    return found.argv, found.environment


def test_who_runs_it() -> None:
    assert read("sudo -E -u mlops mlflow server").user == "mlops"
    assert read("sudo mlflow server").user == "root"
    assert read("mlflow server").user == ""


def test_an_activated_environment_is_known() -> None:
    environment = read('cd "$(dirname "$0")"\nsource venv/bin/activate\nmlflow server').environment
    assert environment["VIRTUAL_ENV"] == f"{TREE}/venv"


def test_a_unit_may_start_it_directly_or_through_shells_and_scripts() -> None:
    texts = {SCRIPT: "mlflow server --port 1"}

    def port(*argv: str) -> str:
        found = of_arguments(list(argv), lambda path: texts.get(path, ""), {}, "/")
        return options(found.argv, found.environment)["--port"] if found else ""

    assert port(SCRIPT) == "1"
    assert port("/bin/bash", SCRIPT) == "1"
    assert port("/bin/bash", "-lc", f"cd / && exec {SCRIPT}") == "1"
    assert port("/usr/bin/env", "PORT=2", "/v/bin/mlflow", "server", "--port", "3") == "3"
    assert port("/bin/true") == ""


def test_scripts_that_read_themselves_or_never_end_are_no_trap() -> None:
    texts = {SCRIPT: f". {SCRIPT}\n{SCRIPT}\nbash {SCRIPT}\nmlflow server --port 1"}
    found = server_command(SCRIPT, lambda path: texts.get(path, ""), {}, "/")
    assert found is not None
    for broken in (
        "mlflow server 'never closed",
        'mlflow server "',
        "mlflow server ${",
        "mlflow server $(",
        "<<",
        "a=(",
    ):
        server_command(SCRIPT, lambda path, text=broken: text, {}, "/")  # type: ignore[misc]


def test_nothing_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    read(f"touch {trap}\nX=$(touch {trap}) `touch {trap}`\nmlflow server --port $(touch {trap})")
    assert not trap.exists()
