"""`python -m mlflow_provision` is `mlflow-provision`."""

from mlflow_provision.cli import main

if __name__ == "__main__":
    main()
