"""Sections of a report that only some formats show: findings, comparisons, ablations, costs, pictures."""
