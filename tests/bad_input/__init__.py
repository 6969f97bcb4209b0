"""Cases of bad input, for `tests/test_bad_input.py`: what is said to a command, and what it must say."""
