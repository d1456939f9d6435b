"""Agreement: one small record per resource, and one way to change it (P1)."""
