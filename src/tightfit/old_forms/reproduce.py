"""Former name of `tightfit.launch.reproduce`, kept for `python -m tightfit.reproduce`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.launch.reproduce", run_name="__main__", alter_sys=True)
