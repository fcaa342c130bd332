"""Built-in methods, one file or folder each, found through entry points like any other plugin."""
