"""Explicit-state models of the protocol, exhausted by a small checker."""
