"""The built-in backbones: one file per network family, registered by entry points like those of other authors."""
