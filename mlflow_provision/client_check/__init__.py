"""The work of an ordinary client, done with the real `mlflow` on the operator's machine."""
