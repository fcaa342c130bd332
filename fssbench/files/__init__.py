"""Files on disk: what we write appears whole, what others wrote is read with suspicion."""
