"""Built-in data sets: readers of the published layouts, found through entry points."""
