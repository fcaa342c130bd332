"""`python -m fssbench`: the same as the `fssbench` command."""

from fssbench.cli import run_command

if __name__ == "__main__":
    # Workers that a plugin spawns then run this file, as they run the command, and find the modules of the plugin.
    # Python does not run a `__main__` that has a name.
    __spec__ = None
    run_command()
