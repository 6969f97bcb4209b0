"""Former name of `tightfit.run.replay`, kept for `python -m tightfit.replay`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.run.replay", run_name="__main__", alter_sys=True)
