"""Checks plugins against their contracts; each check tests one sentence and gives one result."""
