"""Runs on a cluster: a run command divided into tasks, which an engine such as Slurm starts and starts again."""
