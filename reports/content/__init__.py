"""Content of a report before it has a format: figures in words, marks, published figures."""
