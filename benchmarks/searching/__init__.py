"""The parts of the comparison of searchers, ``benchmarks/search.py``."""
