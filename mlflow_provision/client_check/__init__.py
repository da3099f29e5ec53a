"""`verify --client`: the real MLflow client, on the operator's machine, without a cloud key."""

from mlflow_provision.client_check.interpreter import Interpreter, found, make, maker, place
from mlflow_provision.client_check.trying import tried

__all__ = ["Interpreter", "found", "make", "maker", "place", "tried"]
