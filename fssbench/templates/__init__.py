"""Starts of plugins, which `fssbench new` copies under the name of the user.

Each is a working plugin called `mine`, so that it is linted, type-checked and tested as it is.
"""
