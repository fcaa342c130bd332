"""Verification of stored runs and of data sets: both are compared with the data, and with the published facts."""
