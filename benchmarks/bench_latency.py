"""The latency table on any machine: `python benchmarks/bench_latency.py [--out DIR] [--model M]`.

The same as `m6rec bench latency`; kept so that a machine with a GPU can run it from a checkout.
"""

from __future__ import annotations

import typer

from m6rec.cli.bench_latency import bench_latency

if __name__ == "__main__":
    typer.run(bench_latency)
