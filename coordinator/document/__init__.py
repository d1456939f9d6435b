"""Documents: content behind a record (P15 to P18)."""
