"""`python -m tightfit.replay`: a former form of `tightfit replay`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("replay")
