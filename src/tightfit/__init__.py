"""Which training method gives the best model, given this many bytes of memory and this much time?"""

import os

__version__ = "0.1.0"
# `python -m tightfit.reproduce` and others are former forms of the verbs of `tightfit`.
__path__.append(os.path.join(os.path.dirname(__file__), "old_forms"))
