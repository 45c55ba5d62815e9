"""A table whose model has adapters of tenants, to do arithmetic with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from conftest import formula_table

from profiler.table import AdapterTable

BYTES = 10


def table(load_s=0.02, service_s=0.02, depth=4, each_s=0.0):
    """A batch takes service_s, and each_s for every request; the link load_s for an adapter of `depth` layers."""
    plain = formula_table(lambda k, b, t: 1e6 * (service_s + each_s * b), batches=(1, 2, 4, 8, 16))
    columns = dict(plain.columns) | {"depth": np.full_like(plain.columns["depth"], depth)}
    rows = tuple(("students-2x8", "toy", BYTES, 1e6 * load_s, n, 16, 16, 0.0) for n in (1, 16))
    return replace(plain, columns=columns, adapters=AdapterTable(rows))
