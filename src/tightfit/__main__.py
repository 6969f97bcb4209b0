"""`python -m tightfit VERB name=value …`, the same as `tightfit VERB name=value …`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward()
