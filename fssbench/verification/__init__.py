"""Verification of what is stored: runs against themselves and the data, data sets against what was published."""
