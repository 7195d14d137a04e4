"""MovieLens: 100K (u.data), 1M and 10M (ratings.dat), latest, 25M and 32M (ratings.csv).

Source: https://grouplens.org/datasets/movielens/ and the README in each archive, which has the
meaning of the age and occupation codes of 1M.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from m6rec.data.batches import Batch, Broken
from m6rec.data.delimited import Layout, read_rows
from m6rec.data.importers.columnmap import ColumnMap, parse_map
from m6rec.data.importers.columns import mapped_pieces
from m6rec.data.importers.pieces import Importer, Maps, Notes, Piece
from m6rec.data.importers.reading import find
from m6rec.data.schema import DataError

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
AGES = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56 and over",
}
OCCUPATIONS = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student"),
    *("customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker"),
    *("K-12 student", "lawyer", "programmer", "retired", "sales/marketing", "scientist"),
    *("self-employed", "technician/engineer", "tradesman/craftsman", "unemployed", "writer"),
)
TAGS_KEPT = 10
RATINGS = "user_id=user,item_id=movie,event='rating',value=rating,timestamp=time:s"


@dataclass(frozen=True)
class _File:
    """A file of one edition: where it is, how it is cut, and which columns of a table it fills."""

    name: str
    layout: Layout
    columns: ColumnMap


def _file(name: str, table: str, spec: str, layout: Layout) -> _File:
    return _File(name, layout, parse_map(table, spec))


def _dat(*columns: str) -> Layout:
    return Layout("::", columns, latin_1=True)


def _edition_100k() -> tuple[_File, ...]:
    movie = ("movie", "title", "release_date", "video_release_date", "url", *GENRES)
    user = ("user", "age", "gender", "occupation", "zip")
    return (
        _file(
            "u.item",
            "items",
            "item_id=movie,title=title,category=category,release_date=release_date",
            Layout("|", movie, latin_1=True),
        ),
        _file(
            "u.user",
            "users",
            "user_id=user,age=age,gender=gender,occupation=occupation,zip=zip",
            Layout("|", user, latin_1=True),
        ),
        _file("u.data", "events", RATINGS, Layout("\t", ("user", "movie", "rating", "time"))),
    )


def _edition_dat() -> tuple[_File, ...]:
    return (
        _file(
            "movies.dat",
            "items",
            "item_id=movie,title=title,category=genres",
            _dat("movie", "title", "genres"),
        ),
        _file(
            "users.dat",
            "users",
            "user_id=user,age=age,gender=gender,occupation=occupation,zip=zip",
            _dat("user", "gender", "age", "occupation", "zip"),
        ),
        _file("ratings.dat", "events", RATINGS, _dat("user", "movie", "rating", "time")),
    )


def _edition_csv() -> tuple[_File, ...]:
    csv = Layout(quotes=True)
    ratings = "user_id=userId,item_id=movieId,event='rating',value=rating,timestamp=timestamp:s"
    return (
        _file("movies.csv", "items", "item_id=movieId,title=title,category=genres", csv),
        _file("ratings.csv", "events", ratings, csv),
    )


EDITIONS = {"u.data": _edition_100k, "ratings.dat": _edition_dat, "ratings.csv": _edition_csv}


def pieces(source: Path, maps: Maps, notes: Notes) -> Iterator[Piece]:
    """Movies, users (where the edition has them), then ratings."""
    del maps
    edition = next((name for name in EDITIONS if find(source, (name,))), None)
    if edition is None:
        raise DataError(
            f"{source}: none of {', '.join(EDITIONS)} is here; give the unpacked folder"
        )
    for file in EDITIONS[edition]():
        path = find(source, (file.name,))
        if path is None:
            notes.say(f"{file.name} is not there: no table {file.columns.table}")
            continue
        tags = _tags(source, notes) if file.columns.table == "items" else None
        rows = read_rows(path, file.layout)
        batches = (_in_words(batch, file.columns.table, tags) for batch in rows)
        columns = file.columns if tags is None else _with_tags(file.columns)
        for mapped in mapped_pieces(path, columns, batches):
            yield mapped.piece


def _with_tags(columns: ColumnMap) -> ColumnMap:
    return parse_map("items", "tags=tags").over(columns)


def _in_words(batch: Batch, table: str, tags: pl.DataFrame | None) -> Batch:
    """Codes and flags as words."""
    frame = batch.frame
    if GENRES[0] in frame.columns:
        words = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES]
        genres = pl.concat_str(words, separator="|", ignore_nulls=True)
        frame = frame.with_columns(category=pl.when(genres != "").then(genres))
    if "genres" in frame.columns:
        unlisted = pl.col("genres") == "(no genres listed)"
        frame = frame.with_columns(pl.when(~unlisted).then(pl.col("genres")).alias("genres"))
    if table == "users" and "occupation" in frame.columns:
        codes = {str(code): words for code, words in enumerate(OCCUPATIONS)}
        age = pl.col("age").replace(AGES) if _coded(frame) else pl.col("age")
        frame = frame.with_columns(age, pl.col("occupation").replace(codes))
    if tags is not None:
        key = next(name for name in ("movieId", "movie") if name in frame.columns)
        frame = frame.join(tags, left_on=key, right_on="item", how="left", maintain_order="left")
    return Batch(frame, batch.broken)


def _coded(frame: pl.DataFrame) -> bool:
    """1M writes age groups as codes and occupations as numbers; 100K writes both out."""
    return bool(frame["occupation"].str.contains(r"^\d+$").all())


def _tags(source: Path, notes: Notes) -> pl.DataFrame | None:
    """item, tags: what most users called a movie. A tag has no time here, so it may tell a model
    about days after the split; a template shows tags only where it names them."""
    path = find(source, ("tags.csv", "tags.dat"))
    if path is None:
        return None
    columns = ("userId", "movieId", "tag", "timestamp")
    layout = Layout(quotes=True) if "csv" in path.name else Layout("::", columns, latin_1=True)
    counts: Counter[tuple[str, str]] = Counter()
    broken: list[Broken] = []
    empty = 0
    for batch in read_rows(path, layout):
        parse_map("items", "item_id=movieId,tags=tag").require_sources(path, batch.frame.columns)
        broken += batch.broken
        tags = batch.frame.drop_nulls(["movieId", "tag"])
        empty += batch.frame.height - tags.height
        counts.update(zip(tags["movieId"], tags["tag"].str.to_lowercase(), strict=True))
    notes.say(f"{path.name}: the {TAGS_KEPT} commonest tags of a movie are its column 'tags'")
    notes.count(f"{path.name}: lines that are no tag", len(broken) + empty)
    named = [(item, tag, count) for (item, tag), count in counts.items()]
    frame = pl.DataFrame(named, schema=["item", "tag", "count"], orient="row")
    return (
        frame.cast({"item": pl.String, "tag": pl.String})
        .sort("count", descending=True, maintain_order=True)
        .group_by("item", maintain_order=True)
        .agg(pl.col("tag").head(TAGS_KEPT))
        .select("item", tags=pl.col("tag").list.join("|"))
    )


IMPORTER = Importer(
    help="MovieLens 100K, 1M, 10M, 25M, 32M and latest",
    reads="the unpacked folder: u.data, u.item, u.user; or *.dat; or ratings.csv, movies.csv",
    pieces=pieces,
)
