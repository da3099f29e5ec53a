"""MLflow's databases: copied, looked into, compared, migrated and switched, by whoever has to."""

TRACKING, USERS = "mlflow.db", "basic_auth.db"  # as their files are called on a host of ours, and in a backup
