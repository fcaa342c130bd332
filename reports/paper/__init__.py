"""The tables of the PMNet paper in its own form: layouts, what stands in them, how they are set."""
