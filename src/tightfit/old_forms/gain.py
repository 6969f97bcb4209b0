"""`python -m tightfit.gain`: a former form of `tightfit gain`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("gain")
