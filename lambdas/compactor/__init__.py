"""The function that folds, reads and collects: it has the mount."""
