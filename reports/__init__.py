"""Built-in reporters: one table model, several formats; each is registered by an entry point."""
