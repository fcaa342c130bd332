"""Where the built-in data sets and the reference lists are published.  No reader imports this."""
