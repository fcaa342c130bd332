"""The built-in backbones, one file per network family, registered by entry points as those of others are."""
