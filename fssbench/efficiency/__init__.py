"""Measures what a method costs on this machine: parameters, FLOPs, time and memory."""
