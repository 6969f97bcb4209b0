"""Bytes: what a method needs by the books, what a step really holds, and what a budget allows."""
