"""One run: from a composed configuration to an ended record."""
