"""Every format by a hand-written example, with the exact tables that come out of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from m6rec.data.batches import ROW
from m6rec.data.importers import FORMATS, Imported, import_data
from m6rec.data.importers.pieces import Piece
from m6rec.data.importers.rowaccount import RowAccount
from m6rec.data.schema import DataError
from m6rec.data.splits import LabelRule, make_split
from m6rec.data.tables import load

Files = dict[str, str | bytes]
Rows = list[tuple[object, ...]]


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., tuple[Imported, Path]]:
    """Writes files (.gz names are gzipped), imports them, gives the outcome and the folder."""

    def run(format: str, files: Files, **options: object) -> tuple[Imported, Path]:
        source, target = tmp_path / "source", tmp_path / "data"
        put(source, files)
        return import_data(format, source, target, **options), target  # type: ignore[arg-type]

    return run


def put(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def rows(folder: Path, table: str, *columns: str) -> Rows:
    frame = pl.read_parquet(folder / f"{table}.parquet")
    return frame.select(columns or frame.columns).rows()


def columns_of(folder: Path, table: str) -> list[str]:
    return pl.read_parquet(folder / f"{table}.parquet").columns


INTER = """user_id:token\titem_id:token\trating:float\ttimestamp:float
u1\ti1\t4\t100
u1\ti2\t2.5\t200
u2\ti1\t5\t150
u2\ti2\t1\t
"""
ITEM = """item_id:token\tmovie_title:token_seq\tclass:token_seq\trelease_year:token
i1\tHeat "1995"\tAction Crime\t1995
i2\tBambi\tAnimation\t
"""


def test_recbole_types_are_read_off_the_header(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    user = "user_id:token\tage:float\nu1\t30\nu2\t40\n"
    outcome, data = imported("recbole", {"ml.inter": INTER, "ml.item.gz": ITEM, "ml.user": user})
    assert rows(data, "events") == [
        ("u1", "i1", "rating", 100.0, 4.0),
        ("u1", "i2", "rating", 200.0, 2.5),
        ("u2", "i1", "rating", 150.0, 5.0),
        ("u2", "i2", "rating", None, 1.0),
    ]
    assert columns_of(data, "events") == ["user_id", "item_id", "event", "timestamp", "value"]
    assert rows(data, "items", "item_id", "title", "category", "release_year") == [
        ("i1", 'Heat "1995"', "Action|Crime", "1995"),
        ("i2", "Bambi", "Animation", None),
    ]
    assert rows(data, "users") == [("u1", "30"), ("u2", "40")]
    assert outcome.rows == {"items": 2, "users": 2, "events": 4}
    assert outcome.read == {"ml.item.gz": 2, "ml.user": 2, "ml.inter": 4}
    assert outcome.rejected == {} and outcome.notes == ()


def test_recbole_parts_give_the_split_and_labels_are_clicks_and_impressions(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    header = "user_id:token\titem_id:token\tlabel:float\n"
    files: Files = {
        "x.item": ITEM,
        "x.train.inter": header + "u1\ti1\t1\nu1\ti2\t0\n",
        "x.valid.inter": header + "u1\ti2\t1\nu2\ti2\t0\n",
        "x.test.inter": header + "u2\ti1\t1\nu2\ti2\t0\n",
        "x.inter": header + "u1\ti1\t1\n",
    }
    outcome, data = imported("recbole", files)
    assert rows(data, "events", "user_id", "item_id", "event", "split") == [
        ("u1", "i1", "click", "train"),
        ("u1", "i2", "impression", "train"),
        ("u1", "i2", "click", "valid"),
        ("u2", "i2", "impression", "valid"),
        ("u2", "i1", "click", "test"),
        ("u2", "i2", "impression", "test"),
    ]
    assert outcome.notes == ("x.inter: not read, its rows are in x.train.inter and the like",)
    split = make_split(load(data), "rank")
    assert split.card.split.startswith("column")
    assert (len(split.train), len(split.valid), len(split.test)) == (2, 2, 2)


def test_recbole_takes_a_map_for_names_it_does_not_know(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    item = "item_id:token\tlabel_text:token_seq\ni1\tA thing\n"
    inter = "user_id:token\titem_id:token\twhen:float\nu1\ti1\t100000\n"
    maps = {"items": "title=label_text", "events": "event='purchase',timestamp=when:ms"}
    _, data = imported("recbole", {"x.inter": inter, "x.item": item}, columns=maps)
    assert rows(data, "items") == [("i1", "A thing")]
    assert rows(data, "events") == [("u1", "i1", "purchase", 100.0)]


FLAGS = ["0"] * 19


def film(number: str, title: str, date: str, *genres: int) -> str:
    flags = ["1" if i in genres else "0" for i in range(19)]
    return "|".join([number, title, date, "", "http://x", *flags]) + "\n"


def test_movielens_100k(imported: Callable[..., tuple[Imported, Path]]) -> None:
    films = film("1", "Toy Story (1995)", "01-Jan-1995", 3, 4, 5) + film("2", "Amélie", "", 14)
    files: Files = {
        "u.data": "196\t1\t3\t881250949\n196\t2\t5\t881250950\n22\t1\t4\t878887116\n",
        "u.item": films.encode("latin-1"),
        "u.user": "22|40|M|writer|02215\n196|49|M|writer|55105\n",
    }
    outcome, data = imported("movielens", files)
    assert rows(data, "events") == [
        ("196", "1", "rating", 881250949.0, 3.0),
        ("196", "2", "rating", 881250950.0, 5.0),
        ("22", "1", "rating", 878887116.0, 4.0),
    ]
    assert rows(data, "items") == [
        ("1", "Toy Story (1995)", "Animation|Children's|Comedy", "01-Jan-1995"),
        ("2", "Amélie", "Romance", None),
    ]
    assert rows(data, "users")[0] == ("22", "40", "M", "writer", "02215")
    assert outcome.rows == {"items": 2, "users": 2, "events": 3}
    split = make_split(load(data), "rank", "temporal", valid_fraction=0.3, test_fraction=0.3)
    assert "rating >= 4" in " ".join(split.card.filters)


def test_movielens_1m_codes_become_words(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    files: Files = {
        "ratings.dat": "1::1193::5::978300760\n2::1193::3::978302109\n",
        "movies.dat": "1193::Léon: a film (1994)::Drama|Thriller\n".encode("latin-1"),
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    }
    _, data = imported("movielens", files)
    assert rows(data, "items") == [("1193", "Léon: a film (1994)", "Drama|Thriller")]
    assert rows(data, "users") == [
        ("1", "under 18", "F", "K-12 student", "48067"),
        ("2", "56 and over", "M", "self-employed", "70072"),
    ]
    assert rows(data, "events", "user_id", "item_id", "value") == [
        ("1", "1193", 5.0),
        ("2", "1193", 3.0),
    ]


def test_movielens_latest_has_the_commonest_tags(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    files: Files = {
        "ratings.csv": "userId,movieId,rating,timestamp\r\n1,10,4.0,964982703\r\n",
        "movies.csv": 'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n'
        "11,Nameless,(no genres listed)\n",
        "tags.csv": "userId,movieId,tag,timestamp\n2,10,Funny,1\n3,10,pixar,2\n4,10,funny,3\n",
    }
    outcome, data = imported("movielens", files)
    assert rows(data, "items") == [
        ("10", "American President, The (1995)", "Comedy|Drama", "funny|pixar"),
        ("11", "Nameless", None, None),
    ]
    assert rows(data, "events") == [("1", "10", "rating", 964982703.0, 4.0)]
    assert "column 'tags'" in outcome.notes[0]


META = lines(
    {
        "main_category": "Video Games",
        "title": "Pad",
        "average_rating": 4.1,
        "features": ["Wireless", "Black"],
        "description": ["A pad.", "It works."],
        "price": "$1,129.50",
        "store": "Acme",
        "categories": ["Video Games", "Controllers"],
        "parent_asin": "B01",
    },
    {"title": "Game", "features": ["Fun"], "description": [], "price": None, "parent_asin": "B02"},
    {"title": "Odd", "price": "call us", "main_category": "Toys", "parent_asin": "B03"},
)
REVIEWS = lines(
    {
        "rating": 5.0,
        "title": "Great",
        "text": "Works well",
        "images": [],
        "asin": "B01X",
        "parent_asin": "B01",
        "user_id": "A",
        "timestamp": 1588687728923,
        "helpful_vote": 2,
        "verified_purchase": True,
    },
    {
        "rating": 1.0,
        "title": "",
        "text": "",
        "images": [{"small_image_url": "u"}],
        "asin": "B02",
        "parent_asin": "B02",
        "user_id": "A",
        "timestamp": 1588687729000,
        "helpful_vote": 0,
        "verified_purchase": False,
    },
)


def test_amazon_reviews_and_metadata(imported: Callable[..., tuple[Imported, Path]]) -> None:
    files: Files = {"Video_Games.jsonl.gz": REVIEWS, "meta_Video_Games.jsonl": META}
    outcome, data = imported("amazon", files)
    assert rows(data, "events") == [
        ("A", "B01", "rating", 1588687728.923, 5.0),
        ("A", "B02", "rating", 1588687729.0, 1.0),
    ]
    assert rows(data, "reviews", "user_id", "item_id", "rating", "text", "summary") == [
        ("A", "B01", 5.0, "Works well", "Great")
    ]
    assert rows(data, "reviews", "timestamp", "helpful_vote", "verified_purchase") == [
        (1588687728.923, "2", "true")
    ]
    first = ("item_id", "title", "category", "description", "brand", "price", "features")
    assert rows(data, "items", *first) == [
        ("B01", "Pad", "Video Games|Controllers", "A pad. It works.", "Acme", 1129.5,
         "Wireless|Black"),
        ("B02", "Game", None, "Fun", None, None, "Fun"),
        ("B03", "Odd", "Toys", None, None, None, None),
    ]  # fmt: skip
    assert outcome.rows == {"items": 3, "events": 2, "reviews": 1}
    assert outcome.notes == (
        "meta_Video_Games.jsonl: not used: average_rating",
        "Video_Games.jsonl.gz: not used: asin, images",
        "meta_Video_Games.jsonl: prices that are no number, left empty: 1",
        "Video_Games.jsonl.gz: ratings without words, no row of reviews: 1",
    )


def test_amazon_benchmark_csv_gives_the_split(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    header = "user_id,parent_asin,rating,timestamp,history\n"
    files: Files = {
        "V.train.csv": header + "A,B01,5.0,1000000000000,\n",
        "V.valid.csv.gz": header + "A,B02,4.0,1100000000000,B01\n",
        "V.test.csv": header
        + "A,B03,4.0,1200000000000,B01 B02\n"
        + "B,B03,3.0,1200000000000,B01\n",
        "meta_V.jsonl.gz": META,
    }
    outcome, data = imported("amazon", files)
    assert rows(data, "events") == [
        ("A", "B01", "rating", 1e9, 5.0, "train"),
        ("A", "B02", "rating", 1.1e9, 4.0, "valid"),
        ("A", "B03", "rating", 1.2e9, 4.0, "test"),
        ("B", "B03", "rating", 1.2e9, 3.0, "test"),  # kept, though no target
    ]
    assert "V.test.csv: not used: history" in outcome.notes
    split = make_split(load(data), "retrieve")
    assert [len(part) for part in (split.valid, split.test)] == [1, 1]
    assert split.test.rows.select("user_id", "target").rows() == [("A", "B03")]


NEWS = (
    'N1\tsports\tgolf\tA "title" about golf\tAn abstract\thttps://x\t[]\t[]\n'
    "N2\tnews\tworld\tWorld\t\thttps://x\t[]\t[]\n"
    "N3\tlife\t\tLife\tText\thttps://x\t[]\t[]\n"
)
BEHAVIORS = (
    "1\tU1\t11/15/2019 8:55:22 AM\tN1 N3\tN2-1 N3-0\n"
    "2\tU1\t11/15/2019 12:05:00 PM\tN1 N3\tN1-0\n"
    "3\tU2\t11/16/2019 12:00:00 AM\t\tN3-1 N2-0\n"
)
U1_FIRST, U1_SECOND, U2_ONLY = 1573808122.0, 1573819500.0, 1573862400.0


def test_mind_keeps_clicks_and_what_was_shown_beside_them(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    outcome, data = imported("mind", {"news.tsv": NEWS, "behaviors.tsv": BEHAVIORS})
    shape = ("user_id", "item_id", "event", "timestamp", "request_id", "position")
    assert rows(data, "events", *shape) == [
        ("U1", "N1", "click", None, None, 0),
        ("U1", "N3", "click", None, None, 1),
        ("U1", "N2", "click", U1_FIRST, "1", 0),
        ("U1", "N3", "impression", U1_FIRST, "1", 1),
        ("U1", "N1", "impression", U1_SECOND, "2", 0),
        ("U2", "N3", "click", U2_ONLY, "3", 0),
        ("U2", "N2", "impression", U2_ONLY, "3", 1),
    ]
    assert rows(data, "items") == [
        ("N1", 'A "title" about golf', "sports|golf", "An abstract"),
        ("N2", "World", "news|world", None),
        ("N3", "Life", "life", "Text"),
    ]
    assert outcome.read == {"news.tsv": 3, "behaviors.tsv": 3}
    split = make_split(load(data), "rank", "temporal", valid_fraction=0.15, test_fraction=0.4)
    assert split.card.counts["test_labels_positive"] == 1
    assert split.card.counts["test_labels"] == 2


def test_mind_train_and_dev_are_parts_with_requests_of_their_own(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    dev = (
        "1\tU1\t11/17/2019 1:00:00 PM\tN1 N3 N2\tN1-1 N3-0\n"
        "1\tU3\t11/17/2019 1:00:00 PM\tN2\tN1-0\n"
    )
    files: Files = {
        "MINDsmall_train/news.tsv": NEWS,
        "MINDsmall_train/behaviors.tsv": BEHAVIORS,
        "MINDsmall_dev/news.tsv": NEWS,
        "MINDsmall_dev/behaviors.tsv": dev,
    }
    outcome, data = imported("mind", files)
    events = pl.read_parquet(data / "events.parquet")
    dev_events = events.tail(4).select("user_id", "item_id", "event", "request_id", "split").rows()
    assert dev_events == [
        ("U1", "N1", "click", "valid-1", "valid"),
        ("U1", "N3", "impression", "valid-1", "valid"),
        ("U3", "N2", "click", None, "train"),
        ("U3", "N1", "impression", "valid-1", "valid"),
    ]
    assert events["request_id"].drop_nulls().to_list()[0] == "train-1"
    assert outcome.read == {
        "MINDsmall_train/news.tsv": 3,
        "MINDsmall_dev/news.tsv": 3,
        "MINDsmall_train/behaviors.tsv": 3,
        "MINDsmall_dev/behaviors.tsv": 2,
    }
    assert "MINDsmall_dev/news.tsv: rows that repeat one of items: 3" in outcome.notes
    assert outcome.rejected == {}


GORSE_ITEMS = lines(
    {
        "ItemId": "1",
        "IsHidden": False,
        "Categories": ["book", "new"],
        "Timestamp": "2020-01-01T01:01:01.5Z",
        "Labels": {"genre": ["comedy", "sci-fi"], "embedding": [0.1, 0.2, 0.3, 0.4]},
        "Comment": "One",
    },
    {
        "ItemId": "2",
        "IsHidden": True,
        "Categories": None,
        "Timestamp": "0001-01-01T00:00:00Z",
        "Labels": ["a", "b"],
        "Comment": "",
    },
    {"ItemId": "3", "Timestamp": "2020-01-01T00:00:00+02:00", "Labels": {"title": "Three"},
     "Comment": "about three"},
)  # fmt: skip
GORSE_FEEDBACK = lines(
    {"FeedbackType": "like", "UserId": "a", "ItemId": "1", "Value": 0,
     "Timestamp": "2021-01-01T00:00:00Z", "Updated": "2021-01-01T00:00:00Z", "Comment": ""},
    {"FeedbackType": "rating", "UserId": "a", "ItemId": "3", "Value": 4.5,
     "Timestamp": "2021-01-01T00:00:01Z"},
)  # fmt: skip


def test_gorse_json_lines(imported: Callable[..., tuple[Imported, Path]]) -> None:
    users = lines({"UserId": "a", "Labels": {"job": "writer"}, "Comment": ""})
    files: Files = {
        "items.jsonl": GORSE_ITEMS,
        "users.jsonl": users,
        "feedback.jsonl": GORSE_FEEDBACK,
    }
    outcome, data = imported("gorse", files)
    shape = ("item_id", "title", "category", "description", "genre", "labels", "is_hidden")
    assert rows(data, "items", *shape) == [
        ("1", "One", "book|new", None, "comedy|sci-fi", None, None),
        ("2", "a|b", None, "a|b", None, "a|b", "true"),
        ("3", "Three", None, "about three", None, None, None),
    ]
    assert rows(data, "items", "available_from") == [(1577840461.5,), (None,), (1577829600.0,)]
    assert rows(data, "users") == [("a", "writer")]
    assert rows(data, "events") == [
        ("a", "1", "like", 1609459200.0, None),
        ("a", "3", "rating", 1609459201.0, 4.5),
    ]
    assert "items.jsonl: label 'embedding' is not used: numbers, not words" in outcome.notes
    assert "items.jsonl: hidden items (is_hidden), imported like the others: 1" in outcome.notes


def test_gorse_csv_of_older_versions(imported: Callable[..., tuple[Imported, Path]]) -> None:
    files: Files = {
        "items.csv": "item_id,is_hidden,categories,time_stamp,labels,description\r\n"
        '1,false,x|y,2020-01-01 01:01:01.000000001 +0000 UTC,"{""genre"":[""comedy""]}","o,n,e"\r\n'
        '3,true,,2022-01-01 01:01:01.000000001 +0000 UTC,null,"""three"""\r\n',
        "users.csv": "user_id,labels\r\n1,a|b\r\n",
        "feedback.csv": "feedback_type,user_id,item_id,time_stamp\r\n"
        "click,1,1,2020-06-01 00:00:00 +0000 UTC\r\n",
    }
    _, data = imported("gorse", files)
    assert rows(data, "items", "item_id", "title", "category", "genre", "is_hidden") == [
        ("1", "o,n,e", "x|y", "comedy", None),
        ("3", '"three"', None, None, "true"),
    ]
    assert rows(data, "users") == [("1", "a|b")]
    assert rows(data, "events", "user_id", "item_id", "event", "timestamp") == [
        ("1", "1", "click", 1590969600.0)
    ]


METARANK = lines(
    {"event": "item", "id": "e1", "timestamp": "1599391467000", "item": "p1",
     "fields": [{"name": "title", "value": "Old cat"}, {"name": "color", "value": ["white", "red"]},
                {"name": "price", "value": 5}]},
    {"event": "item", "id": "e2", "timestamp": "1599391469000", "item": "p1",
     "fields": [{"name": "title", "value": "New cat"}]},
    {"event": "item", "id": "e3", "timestamp": 1599391468000, "item": "p1",
     "fields": [{"name": "title", "value": "Middle cat"}, {"name": "cute", "value": True}]},
    {"event": "item", "id": "e4", "timestamp": "2020-09-06T11:24:27Z", "item": "p2",
     "fields": [{"name": "title", "value": "Dog"}]},
    {"event": "user", "id": "e5", "timestamp": "1599391467000", "user": "u1",
     "fields": [{"name": "age", "value": 33}]},
    {"event": "ranking", "id": "r1", "timestamp": "1599391467000", "user": "u1", "session": "s1",
     "fields": [{"name": "query", "value": "cat"}, {"name": "source", "value": "search"}],
     "items": [{"id": "p2", "relevancy": 2.0}, {"id": "p1"}]},
    {"event": "interaction", "id": "i1", "ranking": "r1", "timestamp": "1599391477000",
     "user": "u1", "type": "click", "item": "p1", "fields": [{"name": "count", "value": 1}]},
    {"event": "interaction", "id": "i2", "timestamp": "2020-09-06T11:24:40Z",
     "session": "s2", "type": "purchase", "item": "p2"},
)  # fmt: skip


def test_metarank_rankings_are_impressions_and_updates_are_merged(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    outcome, data = imported("metarank", {"events.jsonl": METARANK})
    assert rows(data, "items", "item_id", "title", "price", "color", "cute") == [
        ("p1", "New cat", 5.0, "white|red", "true"),
        ("p2", "Dog", None, None, None),
    ]
    assert rows(data, "users") == [("u1", "33")]
    shape = ("user_id", "item_id", "event", "timestamp", "value", "query", "request_id", "position")
    assert rows(data, "events", *shape) == [
        ("u1", "p2", "impression", 1599391467.0, None, "cat", "r1", 0),
        ("u1", "p1", "impression", 1599391467.0, None, "cat", "r1", 1),
        ("u1", "p1", "click", 1599391477.0, 1.0, None, "r1", None),
        ("s2", "p2", "purchase", 1599391480.0, None, None, None, None),
    ]
    assert outcome.rows == {"items": 2, "users": 1, "events": 4}
    assert outcome.notes == (
        "fields of ranking events that are not used: source",
        "items: updates merged into their row: 2",
    )
    dataset = load(data)
    assert dataset.items["title"].to_list() == ["New cat", "Dog"]


def test_columns_maps_one_file_onto_several_tables(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    shop = (
        "Customer;Stock;Description;When;Colour\n"
        "c1;s1;;2011-12-09T12:50:00Z;red\n"
        'c1;s2;"Lamp; big";2011-12-09 12:50;blue\n'
        "c2;s1;Mug;2011-12-10;red\n"
    )
    maps = {
        "events": "user_id=Customer,item_id=Stock,event='purchase',timestamp=When:iso",
        "items": {"item_id": "Stock", "title": "Description"},
    }
    outcome, data = imported("columns", {"events.csv": shop}, columns=maps | {
        "items": "from=events.csv,item_id=Stock,title=Description"})  # fmt: skip
    assert rows(data, "events") == [
        ("c1", "s1", "purchase", 1323435000.0),
        ("c1", "s2", "purchase", 1323435000.0),
        ("c2", "s1", "purchase", 1323475200.0),
    ]
    assert rows(data, "items") == [("s2", "Lamp; big"), ("s1", "Mug")]
    assert outcome.notes == (
        "events.csv: not used: Colour",
        "events.csv: rows that repeat one of items: 1",
    )


def test_columns_reads_json_lines_and_parquet_and_keeps_the_rest_when_asked(
    imported: Callable[..., tuple[Imported, Path]], tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    pl.DataFrame({"sku": [1.0, 2.0], "name": ["A", "B"], "size": [3, 4]}).write_parquet(
        tmp_path / "source" / "items.parquet"
    )
    events = lines(
        {"visitor": 7, "sku": 1, "type": "view", "ts": 1500, "page": "home"},
        {"visitor": 7, "sku": 2.0, "type": "addtocart", "ts": 2500},
    )
    maps = {
        "events": "user_id=visitor,item_id=sku,event=type,timestamp=ts:ms,shop='north',*",
        "items": "item_id=sku,title=name,*",
    }
    _, data = imported("columns", {"events.jsonl.gz": events}, columns=maps)
    assert rows(data, "events") == [
        ("7", "1", "click", 1.5, "north", "home"),
        ("7", "2", "cart", 2.5, "north", None),
    ]
    assert rows(data, "items") == [("1", "A", 3), ("2", "B", 4)]


@pytest.mark.parametrize(
    ("text", "spec", "second"),
    [
        ("5", "t", 5.0),
        ("5000", "t:ms", 5.0),
        ("5000000", "t:us", 5.0),
        ("1970-01-01T00:00:05Z", "t:iso", 5.0),
        ("1970-01-01T02:00:05.25+02:00", "t:iso", 5.25),
        ("1969-12-31 19:00:05 -0500 EST", "t:iso", 5.0),
        ("1970-01-02", "t:iso", 86400.0),
    ],
)
def test_time_formats(
    imported: Callable[..., tuple[Imported, Path]], text: str, spec: str, second: float
) -> None:
    mapping = f"user_id=u,item_id=i,event='click',timestamp={spec}"
    _, data = imported("columns", {"events.csv": f"u,i,t\na,b,{text}\n"}, columns=mapping)
    assert rows(data, "events", "timestamp") == [(second,)]


@pytest.mark.parametrize(
    ("text", "spec", "price"),
    [
        ("1299.5", "p", 1299.5),
        ("12,50", "p:comma", 12.5),
        ("1.299,00 €", "p:comma", 1299.0),
        ("CHF 1'299,05", "p:comma", 1299.05),
        ("1.299.000", "p:comma", 1299000.0),
        ("-3", "p:comma", -3.0),
        ("$1,299.50", "p:point", 1299.5),
        ("1 299.50 EUR", "p:point", 1299.5),
        (".5", "p", 0.5),
        ("12,50", "p", 12.5),
        ("12,99 €", "p", 12.99),
        ("$1,299.50", "p", 1299.5),
        ("", "p:comma", None),
        ("  ", "p:point", None),
    ],
)
def test_number_formats(
    imported: Callable[..., tuple[Imported, Path]], text: str, spec: str, price: float | None
) -> None:
    mapping = f"item_id=i,title=t,price={spec}"
    columns = {"items": mapping, "events": "user_id=u,item_id=i,event='click'"}
    files = {"items.csv": f"i;t;p\na;b;{text}\n", "events.csv": "u;i\nx;a\n"}
    _, data = imported("columns", files, columns=columns)
    assert rows(data, "items", "price") == [(price,)]


@pytest.mark.parametrize(
    ("text", "spec"),
    [("cheap", "p"), ("12.50", "p:comma"), ("1,29", "p:point"), ("cheap", "p:point")],
)
def test_a_number_of_another_format_is_lost_and_told_not_guessed(
    imported: Callable[..., tuple[Imported, Path]], text: str, spec: str
) -> None:
    columns = {
        "items": f"item_id=i,title=t,price={spec}",
        "events": "user_id=u,item_id=i,event='e'",
    }
    files = {"items.csv": f"i;t;p\na;b;{text}\nc;d;\n", "events.csv": "u;i\nx;a\n"}
    outcome, data = imported("columns", files, columns=columns)
    assert rows(data, "items", "item_id", "price") == [("a", None), ("c", None)]
    (note,) = (note for note in outcome.notes if "price" in note)
    assert note.startswith(f"items.csv: price not a number (first line 2: {text!r}; right is a ")
    assert note.endswith("): 1") and outcome.rejected == {}


def test_a_time_that_can_not_be_read_is_lost_and_told_as_it_was_written(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    mapping = "user_id=u,item_id=i,event='click',timestamp=t"
    text = "u,i,t\na,b,5\na,b,2024-05-01 10:00\na,b,soon\na,b,NULL\na,b,later\n"
    outcome, data = imported("columns", {"events.csv": text}, columns=mapping)
    times = [time for (time,) in rows(data, "events", "timestamp")]
    assert times == [5.0, 1714557600.0, None, None, None]
    assert outcome.notes[-1] == (
        "events.csv: timestamp not a time (first line 4: 'soon'; right is seconds since 1970, such "
        "as 1714564800, or a time such as 2024-05-01 12:00 (formats: s, ms, us, ns, iso, or "
        "%d.%m.%Y)): 2"
    )


def test_every_format_says_in_one_line_what_it_reads() -> None:
    assert list(FORMATS) == [
        *("recbole", "movielens", "amazon", "mind", "gorse", "metarank", "columns")
    ]
    for importer in FORMATS.values():
        assert importer.help and "\n" not in importer.help
        assert importer.reads


def test_progress_names_the_file_and_the_rows_read(
    imported: Callable[..., tuple[Imported, Path]],
) -> None:
    seen: list[tuple[str, int]] = []
    imported(
        "recbole",
        {"x.inter": INTER, "x.item": ITEM},
        progress=lambda file, rows: seen.append((file, rows)),
    )
    assert seen == [("x.item", 2), ("x.inter", 4)]


def test_real_movielens_written_back_as_u_data_is_imported_as_it_was(
    shared_data: Callable[[str], Path], imported: Callable[..., tuple[Imported, Path]]
) -> None:
    folder = shared_data("ml100k")
    events = pl.read_parquet(folder / "events.parquet")
    items = pl.read_parquet(folder / "items.parquet")
    data = events.select("user_id", "item_id", pl.col("value").cast(int), "timestamp")
    films = "".join(
        film(*row) for row in items.select("item_id", "title", "release_date").fill_null("").rows()
    )
    files: Files = {
        "u.data": data.write_csv(include_header=False, separator="\t"),
        "u.item": films.encode("latin-1"),
    }
    outcome, target = imported("movielens", files)
    assert outcome.rows == {"items": 1682, "events": 100_000}
    got = pl.read_parquet(target / "events.parquet")
    assert got.select(events.columns).equals(events.cast({"timestamp": pl.Float64}))
    ours = make_split(load(target), "rank", label=LabelRule(event="rating", threshold=4))
    theirs = make_split(load(folder), "rank", label=LabelRule(event="rating", threshold=4))
    assert ours.card.split_hash == theirs.card.split_hash


def test_rows_that_fill_no_table_are_counted_in_a_note(
    imported: Callable[..., tuple[Imported, Path]], tmp_path: Path
) -> None:
    lines = (
        "1\tU1\t11/15/2019 8:55:22 AM\tN1\tN2-1 N3-0\n"
        "2\tU1\t11/15/2019 9:55:22 AM\tN1\t\n"  # nothing shown, the history was told
        "3\tU2\t11/15/2019 9:55:22 AM\t\t\n"
    )
    news = "N1\tnews\tworld\tA title\n"
    outcome, _ = imported("mind", {"behaviors.tsv": lines, "news.tsv": news})
    assert "lines that show no news and no history that was not told before: 2" in outcome.notes
    at = {"id": "r", "timestamp": "1655897000000", "user": "u", "session": "s"}
    events = [
        {"event": "ranking", **at, "items": []},
        {"event": "ranking", **at, "id": "q", "items": [{"id": "a"}]},
    ]
    text = "".join(json.dumps(event) + "\n" for event in events)
    put(tmp_path / "events", {"e.jsonl": text})
    outcome = import_data("metarank", tmp_path / "events", tmp_path / "more")
    assert "rankings that show no item: 1" in outcome.notes
    assert outcome.read == {"e.jsonl": 2}


def test_a_row_that_an_importer_loses_is_an_error_that_names_it() -> None:
    account = RowAccount()
    frame = pl.DataFrame({ROW: [1, 3]}, schema={ROW: pl.Int64})
    account.add(Piece("events", Path("e.csv"), frame, read=4, noted=(4,)))
    with pytest.raises(DataError, match=r"e\.csv: 1 of 4 rows .* the first is row 2"):
        account.settle()
    account.add(Piece("reviews", Path("e.csv"), frame.select(pl.col(ROW) + 1), read=4))
    account.settle()
