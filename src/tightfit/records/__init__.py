"""What a run leaves behind, and what it ran on. Only the standard library is needed to read it."""
