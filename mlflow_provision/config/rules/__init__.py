"""What each part of a deployment must look like. A rule yields every problem it finds, key first."""
