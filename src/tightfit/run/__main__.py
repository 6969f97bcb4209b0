"""`python -m tightfit.run`: see `tightfit.run.configuration`."""

from tightfit.run.configuration import command_line

command_line()
