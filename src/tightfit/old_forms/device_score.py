"""Former name of `tightfit.program.score`, kept for `python -m tightfit.device_score`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.program.score", run_name="__main__", alter_sys=True)
