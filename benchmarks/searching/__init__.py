"""The parts of the comparison of searchers, ``benchmarks/search.py``."""

import os

# before numpy is imported: on a busy machine BLAS threads wait for each other longer than they compute
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
