"""Former name of `tightfit.bench.language`, kept for `python -m tightfit.bench_language`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.bench.language", run_name="__main__", alter_sys=True)
