"""`python -m tightfit.device_score`: a former form of `tightfit score-program`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("score-program")
