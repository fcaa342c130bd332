"""Benchmarks: their definitions as data, and the names that the command line accepts."""
