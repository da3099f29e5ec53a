"""The guided setup: questions to a `Deployment`, every answer checked against reality at once."""
