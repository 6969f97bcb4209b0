"""Former name of `tightfit.run.gain`, kept for `python -m tightfit.gain`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.run.gain", run_name="__main__", alter_sys=True)
