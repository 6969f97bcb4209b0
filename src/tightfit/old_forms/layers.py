"""Former name of `tightfit.plan.layers`, kept for `python -m tightfit.layers`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.plan.layers", run_name="__main__", alter_sys=True)
