"""`python -m tightfit.device_train`: a former form of `tightfit train-program`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("train-program")
