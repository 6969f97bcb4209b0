"""The arithmetic that training methods share."""
