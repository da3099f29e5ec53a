"""Backups of what cannot be made again. Everything here runs as the service user, whoever asked for it."""
