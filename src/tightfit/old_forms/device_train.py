"""Former name of `tightfit.program.train`, kept for `python -m tightfit.device_train`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("tightfit.program.train", run_name="__main__", alter_sys=True)
