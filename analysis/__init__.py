"""Tables and figures from recorded runs: reads records, never imports torch."""

import pandas as pd

# Where pyarrow is installed pandas would hold texts in it, and it refuses half characters, which a name may have.
pd.set_option("mode.string_storage", "python")
