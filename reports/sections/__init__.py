"""The parts of a report that some formats show: findings, comparisons, ablations, costs, pictures."""
