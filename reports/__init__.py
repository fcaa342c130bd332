"""Built-in reporters: they write stored results as HTML, Markdown, LaTeX, figures, CSV, Parquet, JSON and a site."""
