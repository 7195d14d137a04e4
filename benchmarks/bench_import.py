"""Memory and time of importing a made-up log: `python benchmarks/bench_import.py 10 columns`.

The first argument is the number of events in millions, the second the shape of the file: columns
(CSV), movielens (ratings.dat), amazon (JSON Lines with texts, gzipped) or mind (behaviors.tsv).
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from m6rec.data.importers import import_data

CHUNK = 1_000_000
SHOWN = 40
WORDS = "It does what it says, arrived in time and has been in use every day since then. " * 3


def chunks(millions: int) -> Iterator[pl.DataFrame]:
    """Ratings of 50,000 users per million over 100,000 items, unsorted, times in milliseconds."""
    rng = np.random.default_rng(0)
    for _ in range(millions):
        users = pl.Series(rng.integers(0, 50_000 * millions, CHUNK)).cast(pl.String)
        items = pl.Series(rng.integers(0, 100_000, CHUNK)).cast(pl.String)
        yield pl.DataFrame(
            {
                "user_id": "user-" + users.str.zfill(9),
                "parent_asin": "item-" + items.str.zfill(9),
                "rating": rng.integers(1, 6, CHUNK),
                "timestamp": rng.integers(1_600_000_000_000, 1_700_000_000_000, CHUNK),
            }
        )


def write_columns(folder: Path, millions: int) -> None:
    with (folder / "events.csv").open("w") as file:
        for i, frame in enumerate(chunks(millions)):
            file.write(frame.write_csv(include_header=i == 0))


def write_movielens(folder: Path, millions: int) -> None:
    with (folder / "ratings.dat").open("w") as file:
        for frame in chunks(millions):
            text = frame.with_columns(pl.col("timestamp") // 1000).write_csv(include_header=False)
            file.write(text.replace(",", "::"))


def write_amazon(folder: Path, millions: int) -> None:
    with gzip.open(folder / "Reviews.jsonl.gz", "wt", compresslevel=1) as file:
        for frame in chunks(millions):
            words = {"title": "Good", "text": WORDS, "asin": "B0", "verified_purchase": True}
            file.write(
                frame.with_columns(pl.lit(v).alias(k) for k, v in words.items()).write_ndjson()
            )


def write_mind(folder: Path, millions: int) -> None:
    """A million events are 25,000 lines, each with 40 news."""
    with (folder / "behaviors.tsv").open("w") as file:
        number = 0
        for frame in chunks(millions):
            news = frame["parent_asin"].to_list()
            for first in range(0, CHUNK, SHOWN):
                number += 1
                shown = " ".join(
                    f"{name}-{int(i == 3)}" for i, name in enumerate(news[first : first + SHOWN])
                )
                user = frame["user_id"][first]
                file.write(f"{number}\t{user}\t11/15/2019 8:55:22 AM\tN1 N2 N3\t{shown}\n")


WRITERS = {
    "columns": write_columns,
    "movielens": write_movielens,
    "amazon": write_amazon,
    "mind": write_mind,
}
MAP = "user_id=user_id,item_id=parent_asin,event='rating',value=rating,timestamp=timestamp:ms"


def measure(source: Path, target: Path, shape: str) -> dict[str, object]:
    """Seconds and the highest memory of this process (GB)."""
    started = time.perf_counter()
    imported = import_data(shape, source, target, columns=MAP if shape == "columns" else None)
    return {
        "format": shape,
        "rows": dict(imported.rows),
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main() -> None:
    """Writes the log here and measures in a fresh process, so that writing does not count."""
    if sys.argv[1] == "measure":
        print(json.dumps(measure(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])))
        return
    millions, shape = int(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "source"
        source.mkdir()
        WRITERS[shape](source, millions)
        target = str(Path(temporary) / "data")
        command = [sys.executable, __file__, "measure", str(source), target, shape]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
