"""A page of results as markdown, for a terminal, as CSV and as LaTeX."""
