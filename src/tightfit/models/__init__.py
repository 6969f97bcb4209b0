"""Networks. A model is a sequence of named layers, so "the last k layers" has a meaning."""
