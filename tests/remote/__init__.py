"""The coordinator reached through its function."""
