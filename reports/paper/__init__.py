"""The tables of the PMNet paper in LaTeX: their columns, rows and layout."""
