"""Integer arithmetic: int8 numbers with a shared exponent, after NITI."""
