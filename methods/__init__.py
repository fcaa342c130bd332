"""The built-in methods.  Each is a file or a folder and is registered by an entry point, as any plugin is."""
