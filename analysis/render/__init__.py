"""A page of results as markdown, for a terminal, as HTML, CSV and LaTeX."""
