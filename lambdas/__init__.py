"""Entries of the deployed functions: thin, and in no wheel."""
