"""Toy plugins: what a stranger's package looks like."""
