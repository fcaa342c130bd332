"""Episodes: drawn by protocol from names alone, kept as plan files, drawn again to check them."""
