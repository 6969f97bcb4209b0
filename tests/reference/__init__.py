"""Slow, obvious versions of fast routines."""
