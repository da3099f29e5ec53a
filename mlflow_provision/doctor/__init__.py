"""What is wrong with a deployment, why, and what to do about it: from the operator's name lookup to the store."""
