"""Benchmarks: each case beside named peers, measured in turns, told as ratios. See ``run.py``."""
