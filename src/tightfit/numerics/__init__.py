"""The arithmetic that training methods share."""

# Recorded with every run, apart from its key. Raise it whenever the numbers of any training move.
CODE_VERSION = 3
