"""Logs: what each agent appends by itself, in files that nobody else writes (P19 to P22, P27)."""
