"""Does MLflow answer on a local port, or something else, or nobody?"""

from __future__ import annotations

import base64
import http.client
import re
from dataclasses import dataclass, field
from enum import Enum

ADDRESS = "127.0.0.1"
_LARGEST = 64 * 1024
_VERSION = re.compile(rb"\d+\.\d+[\w.+-]*\s*")


class Answer(Enum):
    MLFLOW = "mlflow"
    LOGIN_REFUSED = "login refused"  # it is MLflow, and does not take the stored password
    OTHER = "other"  # an HTTP answer, of another program
    UNWELL = "unwell"  # MLflow's own port, and an error from it
    HUNG_UP = "hung up"  # the connection was closed without an answer: nobody listens at the other end
    NOTHING = "nothing"  # no answer in time


@dataclass(frozen=True)
class Login:
    """The stored credentials; without a password MLflow is told by how it refuses us."""

    username: str = ""
    password: str = field(default="", repr=False)

    def headers(self) -> dict[str, str]:
        if not self.password:
            return {}
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {token}"}


def healthy(port: int, timeout: float) -> Answer:
    """Cheap: asks for /health, which costs the server no password check."""
    got = _get(port, "/health", {}, timeout)
    if isinstance(got, Answer):
        return got
    status, _, body = got
    if status == 200 and body.strip() == b"OK":
        return Answer.MLFLOW
    return Answer.UNWELL if status >= 500 else Answer.OTHER


def is_mlflow(port: int, login: Login, timeout: float) -> Answer:
    """Thorough: /health, and then what only MLflow says to these credentials."""
    first = healthy(port, timeout)
    if first is not Answer.MLFLOW:
        return first
    got = _get(port, "/version", login.headers(), timeout)
    if isinstance(got, Answer):
        return got
    status, challenge, body = got
    if status == 200 and _VERSION.fullmatch(body):
        return Answer.MLFLOW
    if status == 401 and 'realm="mlflow"' in challenge:
        return Answer.LOGIN_REFUSED if login.password else Answer.MLFLOW
    return Answer.UNWELL if status >= 500 else Answer.OTHER


def _get(port: int, path: str, headers: dict[str, str], timeout: float) -> tuple[int, str, bytes] | Answer:
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}", "Connection": "close", **headers})
        response = connection.getresponse()
        return response.status, response.headers.get("WWW-Authenticate") or "", response.read(_LARGEST)
    except TimeoutError:
        return Answer.NOTHING
    except (http.client.RemoteDisconnected, ConnectionError):
        return Answer.HUNG_UP
    except http.client.HTTPException:
        return Answer.OTHER  # it speaks, but no HTTP
    except OSError:
        return Answer.NOTHING
    finally:
        connection.close()
