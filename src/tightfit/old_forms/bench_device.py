"""`python -m tightfit.bench_device`: a former form of `tightfit bench part=programs`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("bench", "part=programs")
