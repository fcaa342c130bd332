"""Contract checks of plugins: small named checks, one finding each."""
