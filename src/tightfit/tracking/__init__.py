"""Mirrors of the run folder."""
