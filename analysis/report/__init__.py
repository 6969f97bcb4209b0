"""The report: a static folder that opens from disk, of the committed records or of a user's own runs.

`make report` writes one page of all answers with a page for each run; `make figures` writes the files in figures/ that
the README and the papers' folders show. Both are made from the same records by the same tables, figures and colours,
and neither reads what the other wrote.
"""

from .make import make

__all__ = ["make"]
