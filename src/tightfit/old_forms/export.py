"""`python -m tightfit.export`: a former form of `tightfit export`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("export")
