"""Which training method gives the best model, given this many bytes of memory and this much time?"""

__version__ = "0.1.0"
