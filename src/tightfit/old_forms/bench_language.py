"""`python -m tightfit.bench_language`: a former form of `tightfit bench part=language`."""

from tightfit.commands import forward

if __name__ == "__main__":
    forward("bench", "part=language")
