"""Looks inside a method: its first episodes with pictures and maps, outside of any stored run."""
