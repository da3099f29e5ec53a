"""What the wizard asks, a module for each section of its summary."""
