"""A run on disk: its identity, its log of episodes, its marks and its summary."""
