"""Drawings of episodes for people: supports, query, truth, predictions and maps of a method."""
