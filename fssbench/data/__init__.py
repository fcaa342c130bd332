"""Data sets on this machine: where they lie, what they hold, and how their pictures are read."""
