"""What importers say about files that are missing, damaged or of another format."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from m6rec.data.importers import import_data
from m6rec.data.schema import DataError
from m6rec.data.tables import load

CLICKS = "user_id=u,item_id=i,event='click',timestamp=t"


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """A folder with the given files (text as UTF-8)."""

    def make(**files: str | bytes) -> Path:
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / name.replace("__", ".")).write_bytes(data)
        return folder

    return make


def rejects(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_bad_rows_go_to_a_reject_file_with_line_and_reason(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source(
        u__data=b"1\t10\t5\t100\n"
        b"1\t11\t4\n"  # too few fields
        b"\n"
        b"\t12\t4\t300\n"  # no user
        b"2\t10\tfive\tlater\n"  # no numbers
        b"2\t11\t3\t-5\n",  # before 1970
    )
    outcome = import_data("movielens", folder, tmp_path / "data")
    assert outcome.rows == {"events": 3}
    assert outcome.read == {"u.data": 5}
    assert outcome.rejected == {"u.data": 2}
    assert outcome.reasons["u.data"] == {"3 fields in the place of 4": 1, "user_id empty": 1}
    lost = [note for note in outcome.notes if note.startswith("u.data: ")]
    assert [note.split(";")[0] for note in lost] == [
        "u.data: timestamp not a time (first line 5: 'later'",
        "u.data: timestamp before 1970 (first line 6: -5.0",
        "u.data: value not a number (first line 5: 'five'",
    ]
    found = rejects(Path(outcome.rejects["u.data"]))
    assert [(line["row"], line["line"]) for line in found] == [(2, 2), (3, 4)]
    assert found[0]["data"] == "1\t11\t4"
    assert found[0]["problems"] == [
        {
            "column": "",
            "problem": "3 fields in the place of 4",
            "right": "user, movie, rating, time, with a tab between them",
        }
    ]
    assert found[1]["data"]["item_id"] == "12"  # type: ignore[index]
    assert load(tmp_path / "data").rejected == {}, "load finds nothing more to leave out"


def test_read_rows_are_written_or_rejected_every_one(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    lines = [f"u{n},i{n % 7},{'' if n % 11 == 0 else n}x,," if n % 13 == 0 else f"u{n},i{n % 7},{n}"
             for n in range(1000)]  # fmt: skip
    folder = source(events__csv="u,i,t\n" + "\n".join(lines) + "\n")
    outcome = import_data("columns", folder, tmp_path / "data", columns=CLICKS)
    assert outcome.rejected["events.csv"] == 77
    assert outcome.rows["events"] + 77 == outcome.read["events.csv"] == 1000


def test_truncated_gzip_names_the_line_and_writes_nothing(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    text = "u,i,t\n" + "".join(f"u{n * 7919 % 9973},i{n},{n}\n" for n in range(20_000))
    whole = gzip.compress(text.encode())
    folder = source(events__csv__gz=whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"events\.csv\.gz: .*cut off or damaged after line \d{4}"):
        import_data("columns", folder, tmp_path / "data", columns=CLICKS)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_file_that_is_no_gzip_says_so(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(events__csv__gz="u,i,t\na,b,1\n")
    with pytest.raises(DataError, match="cut off or damaged after line 0"):
        import_data("columns", folder, tmp_path / "data", columns=CLICKS)


def test_bytes_that_are_not_utf8_are_rejected_and_utf16_is_an_error(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source(events__csv=b"u,i,t\na,caf\xe9,1\nb,ok,2\n")
    outcome = import_data("columns", folder, tmp_path / "data", columns=CLICKS)
    assert outcome.rows == {"events": 1}
    assert rejects(Path(outcome.rejects["events.csv"]))[0]["line"] == 2
    folder = source(events__csv="u,i,t\na,b,1\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"events\.csv: saved as UTF-16"):
        import_data("columns", folder, tmp_path / "more", columns=CLICKS)


def test_a_target_that_is_not_empty_is_left_alone_unless_overwritten(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source(events__csv="u,i,t\na,b,1\n")
    target = tmp_path / "data"
    target.mkdir()
    (target / "users.csv").write_text("user_id\nold\n")
    (target / "templates.toml").write_text("")
    with pytest.raises(DataError, match="is not empty"):
        import_data("columns", folder, target, columns=CLICKS)
    import_data("columns", folder, target, columns=CLICKS, overwrite=True)
    assert sorted(path.name for path in target.iterdir()) == ["events.parquet", "templates.toml"]
    with pytest.raises(DataError, match="holds the source itself"):
        import_data("columns", folder, folder, columns=CLICKS, overwrite=True)


def test_a_failed_overwrite_keeps_the_old_tables(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    target = tmp_path / "data"
    import_data("columns", source(events__csv="u,i,t\na,b,1\n"), target, columns=CLICKS)
    before = (target / "events.parquet").read_bytes()
    folder = source(events__csv="u,i,t\n,b,1\n")
    with pytest.raises(
        DataError, match=r"none of 1 rows can be used \(user_id empty: 1\).*right is "
    ):
        import_data("columns", folder, target, columns=CLICKS, overwrite=True)
    assert (target / "events.parquet").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("recbole", "no file x.inter"),
        ("movielens", "none of u.data, ratings.dat, ratings.csv"),
        ("amazon", "no reviews and no metadata"),
        ("mind", "no behaviors.tsv"),
        ("gorse", "no export of gorse"),
        ("metarank", "no JSON Lines"),
    ],
)
def test_a_folder_of_something_else_says_what_the_format_reads(
    source: Callable[..., Path], tmp_path: Path, format: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        import_data(format, source(notes__md="hello"), tmp_path / "data")


@pytest.mark.parametrize(
    ("format", "files", "message"),
    [
        ("recbole", {"x__inter": "user_id\titem_id\n"}, "line 1: 'user_id' is not name:type"),
        ("recbole", {"x__inter": "user_id:token\tid:token\na\tb\n"}, "to be the item_id of events"),
        ("movielens", {"ratings__csv": "user,movie,rating,timestamp\n1,2,3,4\n",
                       "movies__csv": "movieId,title,genres\n1,A,B\n"},
         "ratings.csv: there is no column 'userId' .* is it 'user'?"),
        ("movielens", {"ratings__csv": "userId,userId\n", "movies__csv": "movieId,title,genres\n"},
         "names column 'userId' twice"),
        ("gorse", {"feedback__jsonl": '{"UserId": "a"}\n'}, "line 1 has no 'feedbacktype'"),
        ("gorse", {"items__jsonl": '["a"]\n'}, "a JSON str: 1"),
        ("metarank", {"e__jsonl": '{"event": "click"}\n'}, "event 'click': 1.*line 1"),
        ("amazon", {"B__csv": "user_id,asin,rating,timestamp\n"}, "no column 'parent_asin'"),
        ("amazon", {"B__jsonl": '{"user_id": "a"}\n'}, "there is no column 'parent_asin'"),
        ("mind", {"behaviors__tsv": "1\tU1\t11/15/2019 8:55:22 AM\t\tN1 N2\n"},
         "event not known: 2"),
        ("columns", {"events__csv": "u,i,t\n"}, "no row for table 'events' in events.csv"),
        ("columns", {"events__csv": ""}, "the columns are none at all"),
        ("columns", {"events__jsonl": '{"u": 1, "i": 2}\n'}, "there is no column 't'"),
        ("columns", {"events__parquet": "no parquet"}, "can not be read as PARQUET"),
        ("columns", {"events__csv": 'u,i,t\na,"b,1\n'}, "a quote is opened and not closed: 1"),
    ],
)  # fmt: skip
def test_a_file_of_another_shape_is_an_error_that_names_it(
    source: Callable[..., Path],
    tmp_path: Path,
    format: str,
    files: dict[str, str],
    message: str,
) -> None:
    columns = CLICKS if format == "columns" else None
    with pytest.raises(DataError, match=message):
        import_data(format, source(**files), tmp_path / "data", columns=columns)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (None, "needs a column map"),
        ("user_id=u,item_id=i", "'event' is not in it"),
        ("user_id=u,item_id=i,event=click=", "there is no column 'click='"),
        ("user_id=u,item_id", "'item_id' is not TARGET=SOURCE"),
        ("user_id=u,user_id=i", "'user_id' is mapped twice"),
        ("user_id=u,item_id=i,event='click", "event='click' is not TARGET=SOURCE|is not TARGET"),
        ({"evnts": CLICKS}, "no table 'evnts'.*did you mean 'events'"),
        ("user_id=U,item_id=i,event='click'", "no column 'U' .*is it 'u'?"),
        ("from=other.csv," + CLICKS, "other.csv: not there"),
        ({"items": "item_id=i,title=u"}, "no items.csv or the like"),
    ],
)
def test_a_wrong_column_map_says_what_is_right(
    source: Callable[..., Path], tmp_path: Path, columns: str | None, message: str
) -> None:
    folder = source(events__csv="u,i,t\na,b,1\n")
    with pytest.raises(DataError, match=message):
        import_data("columns", folder, tmp_path / "data", columns=columns)


def test_unknown_format_missing_source_and_unwanted_map(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no import format 'movielense'.*did you mean 'movielens'"):
        import_data("movielense", tmp_path, tmp_path / "data")
    with pytest.raises(DataError, match=re.escape("nowhere: not there; mind reads")):
        import_data("mind", tmp_path / "nowhere", tmp_path / "data")
    with pytest.raises(DataError, match="takes no column map of events"):
        import_data("mind", tmp_path, tmp_path / "data", columns=CLICKS)


def test_a_constant_may_hold_commas_and_equal_signs(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source(events__csv="u,i,t\na,b,1\n")
    columns = "user_id=u, item_id=i, event='purchase', note='a=b, c'"
    import_data("columns", folder, tmp_path / "data", columns=columns)
    assert pl.read_parquet(tmp_path / "data" / "events.parquet").rows() == [
        ("a", "b", "purchase", "a=b, c")
    ]


def test_files_of_the_same_name_have_reject_files_of_their_own(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        folder = tmp_path / "mind" / name
        folder.mkdir(parents=True)
        (folder / "news.tsv").write_text("N1\tnews\tworld\tTitle\tText\n")
        good = "1\tU1\t11/15/2019 8:55:22 AM\tN1\tN1-1\n"
        (folder / "behaviors.tsv").write_text(good + "2\tU1\t2019\t\tN1-0\n3\tU1\t2019\t\tN1\n")
    outcome = import_data("mind", tmp_path / "mind", tmp_path / "data")
    assert outcome.rejected == {"train/behaviors.tsv": 1, "dev/behaviors.tsv": 1}
    found = rejects(tmp_path / "data" / "dev-behaviors.tsv.rejects.jsonl")
    assert found[0]["file"] == str(tmp_path / "mind" / "dev" / "behaviors.tsv")
    assert found[0]["line"] == 3
    assert found[0]["data"]["#time"] == "2019"  # type: ignore[index]


def test_a_killed_import_leaves_nothing_in_the_way(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source(events__csv="u,i,t\na,b,1\n")

    def stop(file: str, rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_data("columns", folder, tmp_path / "data", columns=CLICKS, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    (tmp_path / ".data.unfinished").mkdir()
    (tmp_path / ".data.unfinished" / "items.parquet").write_text("half")
    import_data("columns", folder, tmp_path / "data", columns=CLICKS)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["events.parquet"]
