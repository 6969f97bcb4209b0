"""`python -m tightfit.run`: a former form of `tightfit run`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("run")
