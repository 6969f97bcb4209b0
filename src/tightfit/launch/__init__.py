"""Many runs: an experiment as planned, and its runs side by side."""
