"""What several data sets use."""
