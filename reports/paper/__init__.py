"""The tables of the PMNet paper in its layout: columns, rows, typesetting."""
