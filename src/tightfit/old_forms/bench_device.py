"""Former name of `tightfit.bench.device`, kept for `python -m tightfit.bench_device`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.bench.device", run_name="__main__", alter_sys=True)
