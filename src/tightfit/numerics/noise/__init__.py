"""Random directions: their numbers, how weights move along them, and how they return."""
