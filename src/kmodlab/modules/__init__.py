"""Readers of what the modules show."""
