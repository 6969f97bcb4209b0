"""What a finished run is good for: its model answers, is scored on other data, and leaves for other programs."""
