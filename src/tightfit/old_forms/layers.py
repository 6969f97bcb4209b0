"""`python -m tightfit.layers`: a former form of `tightfit layers`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("layers")
