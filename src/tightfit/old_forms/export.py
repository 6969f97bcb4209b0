"""Former name of `tightfit.program.export`, kept for `python -m tightfit.export`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.program.export", run_name="__main__", alter_sys=True)
