"""One file per training method, read top to bottom: claim, hyperparameters, memory equation, step."""
