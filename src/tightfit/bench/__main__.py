"""`python -m tightfit.bench`: see `tightfit.bench.targets`."""

from tightfit.bench.targets import main

main()
