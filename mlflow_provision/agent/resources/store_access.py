"""Proof that a store lets this host do what MLflow, or a backup, needs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_provision.agent.resources.base import Change, Context

_ROUNDS = 20_000  # about 5 ms: the proof stands in a file that others may read, and some stores have short keys


@dataclass(frozen=True)
class StoreAccess:
    """Put, get, list and (unless `append_only`) delete work under an S3 destination.

    Without keys the host's instance role is asked.

    Proved once per destination and credentials: the proof is noted in the deployment's record, `state`.
    """

    id: str
    destination: str
    region: str
    endpoint_url: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    state: str
    metadata_url: str = ""  # "": where every EC2 instance finds it
    section: str = "artifacts"  # of the deployment file, which is about it
    append_only: bool = False  # delete is neither needed nor tried

    @property
    def title(self) -> str:
        return f"access to {self.destination}"

    @property
    def proof_name(self) -> str:
        """What the proof is called in the record."""
        return "store_proof" if self.section == "artifacts" else f"{self.section}_proof"

    def proof(self) -> str:
        """What the record keeps of a passed check: another destination or other keys have another proof."""
        keys = [self.access_key_id, self.secret_access_key, self.session_token]
        text = json.dumps([self.destination, self.endpoint_url, self.region, *keys, *["append"] * self.append_only])
        return hashlib.pbkdf2_hmac("sha256", text.encode(), b"store_proof", _ROUNDS).hex()

    def check(self, context: Context) -> Change | None:
        try:
            recorded = json.loads(Path(self.state).read_text())
        except (OSError, ValueError):
            recorded = None
        proved = isinstance(recorded, dict) and recorded.get(self.proof_name) == self.proof()
        return (
            None
            if proved
            else Change("prove put, get and list" if self.append_only else "prove put, get, list and delete")
        )

    def apply(self, context: Context) -> None:
        # Imported late: a plan has no use for it, and the agent is compiled anew on every request.
        from mlflow_provision.agent.s3 import Credentials
        from mlflow_provision.agent.s3.probe import prove

        keys = Credentials(self.access_key_id, self.secret_access_key, self.session_token)
        prove(
            self.destination,
            self.region,
            self.endpoint_url,
            keys,
            self.metadata_url,
            context.output,
            self.section,
            self.append_only,
        )
