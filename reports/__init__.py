"""Built-in reporters: one table model, many renderers, found through entry points."""
