"""`python -m tightfit.reproduce`: a former form of `tightfit reproduce`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("reproduce")
