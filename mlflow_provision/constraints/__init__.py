"""One file of pinned packages for each MLflow version we ship, so that the same install comes out next year."""
