"""Training steps as programs that a device runs: written by `tightfit.export`, driven by `tightfit.device_train`."""
