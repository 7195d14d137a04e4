"""A state folder and its journal: restores, late replicas and lost journals double nothing, and
bring nobody back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("litestar", reason="needs the extra serve")

from journal_worlds import PostgresServer, empty, postgres_server
from m6rec.serving.directions import directions_key
from m6rec.serving.starting import Place, open_service
from m6rec.serving.state import ERASURES, JOURNAL, OLD_MARK
from m6rec.stores.journal.base import JournalError
from m6rec.stores.journal.opening import open_journal
from m6rec.stores.journal.snapshots import put_back
from serve_worlds import served, until, write_world


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return write_world(tmp_path / "world")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


def held(service: Any) -> tuple[int, dict[str, int]]:
    """How many entries and choices a server knows."""
    service.registry.current.counts.catch_up()
    return len(service.journal.entries()), dict(service.registry.current.chosen)


def somebody(service: Any) -> str:
    """A user of whom the tables have a profile or events."""
    (first, *_) = [entry.key for entry in service.journal.entries() if entry.kind == "event"]
    return str(first)


def test_a_restore_as_the_docs_describe_doubles_nothing_and_brings_nobody_back(
    place: Place, tmp_path: Path
) -> None:
    with served(place) as (client, service):
        user = somebody(service)
        item = {"item_id": "red-hat", "title": "a corrected title"}
        assert client.post("/v1/items", json={"items": [item]}).status_code == 200
        assert client.delete(f"/v1/users/{user}").status_code == 200
        service.journal.export(tmp_path / "export")
        events = [e for e in service.journal.entries() if e.kind == "event"]
        chosen = held(service)[1]
    shutil.rmtree(place.state_folder / "journal")
    with open_journal(place.state_folder / "journal") as fresh:
        fresh.restore(tmp_path / "export")
    with served(place) as (client, service):
        assert len([e for e in service.journal.entries() if e.kind == "event"]) == len(events)
        assert held(service)[1] == chosen
        assert client.get(f"/v1/users/{user}/events").json()["events"] == []
        assert client.get("/v1/items/red-hat").json()["title"] == "a corrected title"


def test_a_replica_that_joins_late_takes_nothing_in_again(
    place: Place, server: PostgresServer, tmp_path: Path
) -> None:
    shared = replace(place, journal=server.url)
    with served(shared) as (client, service):
        user = somebody(service)
        assert client.delete(f"/v1/users/{user}").status_code == 200
        before = held(service)
        late = replace(shared, state=tmp_path / "another state folder")
        with served(late) as (other, second):
            assert held(second) == before
            assert other.get(f"/v1/users/{user}/events").json()["events"] == []
            event = {"user_id": "new", "event": "click", "item_id": "red-hat"}
            assert other.post("/v1/events", json={"events": [event]}).status_code == 200
            until(lambda: held(service) == held(second))
    empty(open_journal(server.url), server.url)


def test_a_state_folder_whose_journal_is_lost_does_not_start(place: Place) -> None:
    with served(place) as (_, service):
        name = service.journal.name
    shutil.rmtree(place.state_folder / "journal")
    with pytest.raises(JournalError, match=f"used with journal {name}, and this is journal") as no:
        open_service(place)
    assert open_journal(place.state_folder / "journal").name in str(no.value)


def test_a_mark_of_an_earlier_version_beside_an_empty_journal_is_refused(place: Place) -> None:
    place.state_folder.mkdir()
    (place.state_folder / OLD_MARK).touch()
    with pytest.raises(JournalError, match="is empty: right is that journal"):
        open_service(place)


def test_a_mark_of_an_earlier_version_beside_its_journal_goes_on(place: Place) -> None:
    with served(place) as (_, service):
        before = held(service)
    (place.state_folder / JOURNAL).unlink()
    (place.state_folder / OLD_MARK).touch()
    with served(place) as (_, service):
        assert held(service) == before
    assert not (place.state_folder / OLD_MARK).exists()


def test_an_older_copy_of_the_journal_forgets_who_was_erased_since(
    place: Place, tmp_path: Path
) -> None:
    with served(place) as (_, service):
        user = somebody(service)
        before = held(service)[1]
    shutil.copytree(place.state_folder / "journal", tmp_path / "copy")
    with served(place) as (client, service):
        assert client.delete(f"/v1/users/{user}").status_code == 200
        chosen = held(service)[1]
    assert chosen != before
    shutil.rmtree(place.state_folder / "journal")
    shutil.copytree(tmp_path / "copy", place.state_folder / "journal")
    with served(place) as (client, service):
        assert client.get(f"/v1/users/{user}/events").json()["events"] == []
        assert held(service)[1] == chosen


def test_tables_that_fill_a_new_journal_bring_nobody_back(place: Place) -> None:
    with served(place) as (client, service):
        user = somebody(service)
        assert client.delete(f"/v1/users/{user}").status_code == 200
        chosen = held(service)[1]
    assert user not in (place.state_folder / ERASURES).read_text()
    shutil.rmtree(place.state_folder / "journal")
    (place.state_folder / JOURNAL).unlink()  # as the message says, to begin anew
    with served(place) as (client, service):
        assert client.get(f"/v1/users/{user}/events").json()["events"] == []
        assert held(service)[1] == chosen


def test_a_snapshot_of_vectors_that_is_ahead_of_the_journal_is_made_anew(
    place: Place, tmp_path: Path
) -> None:
    with served(place):
        pass
    shutil.copytree(place.state_folder / "journal", tmp_path / "copy")
    with served(place) as (client, _):
        items = [{"item_id": f"late-{n}", "title": f"late thing {n}"} for n in range(3)]
        assert client.post("/v1/items", json={"items": items}).status_code == 200
    shutil.rmtree(place.state_folder / "journal")
    shutil.copytree(tmp_path / "copy", place.state_folder / "journal")
    with served(place) as (client, service):
        assert len(service.registry.current.index) == 15
        item = {"item_id": "new-one", "title": "quite a new thing"}
        assert client.post("/v1/items", json={"items": [item]}).status_code == 200
        until(lambda: len(service.registry.current.index) == 16)


def test_erasing_reaches_the_tables_of_the_start_on_every_server(
    place: Place, server: PostgresServer, tmp_path: Path
) -> None:
    shared = replace(place, journal=server.url)
    with served(shared) as (client, service):
        user = somebody(service)
        reviews = place.data / "reviews.jsonl"
        reviews.write_text(
            f'{{"user_id": "{user}", "item_id": "red-hat", "text": "my own words"}}\n'
        )
        late = replace(shared, state=tmp_path / "another state folder")
        with served(late) as (_, second):

            def named(service: Any) -> bool:
                data = service.registry.current.face.dataset
                tables = (data.events, data.users, data.reviews, data.queries)
                return any(
                    user in table["user_id"].to_list() for table in tables if table is not None
                )

            assert named(service) and named(second)
            assert client.delete(f"/v1/users/{user}").status_code == 200
            assert not named(service)
            until(lambda: not named(second))
            service.registry.current.writer()
            assert not named(service)
    empty(open_journal(server.url), server.url)


def test_a_snapshot_is_made_while_the_server_runs_and_names_no_path(place: Place) -> None:
    with served(place) as (client, service):
        told = client.post("/v1/admin/journal/snapshot").json()
        assert told["journal"] == service.journal.name and told["last"] == service.journal.last()
        assert str(place.data) not in json.dumps(told)
    copy = place.backups / told["name"]
    shutil.rmtree(place.state_folder / "journal")
    put_back(copy, place.state_folder / "journal")
    with served(place) as (_, service):
        assert service.journal.last() == told["last"]
        assert service.journal.before() == (told["journal"],)


def test_old_events_go_and_a_start_counts_what_is_kept(place: Place) -> None:
    with served(place, keep_events="50", compact_seconds=0.2) as (_, service):
        until(lambda: service.journal.dropped() > 0)
        assert len([e for e in service.journal.entries() if e.kind == "event"]) == 50
    with served(place) as (_, service):
        kept = held(service)
        pairs = service.registry.current.scores.chosen.live.counts().count_P.sum()
    shutil.rmtree(place.state_folder / "vectors")
    with served(place) as (_, service):
        assert held(service) == kept, "nothing that was kept beside the journal counts them on"
        assert service.registry.current.scores.chosen.live.counts().count_P.sum() == pairs


def test_servers_of_one_journal_share_the_directions_of_retrieval(
    place: Place, server: PostgresServer, tmp_path: Path
) -> None:
    shared = replace(place, journal=server.url, text_only=True)
    late = replace(shared, state=tmp_path / "another state folder")

    def key(service: Any) -> str:
        return directions_key(service.registry.current.retriever.model)

    with served(shared) as (client, service):
        before = key(service)
        items = [{"item_id": f"l{n}", "title": f"lamp number {n}"} for n in range(5)]
        assert client.post("/v1/items", json={"items": items}).status_code == 200
        with served(late) as (_, second):
            assert key(second) == before, "it would find others in a larger catalogue"
            more = [{"item_id": f"m{n}", "title": f"mug number {n}"} for n in range(20)]
            assert client.post("/v1/items", json={"items": more}).status_code == 200
            until(lambda: before != key(service) == key(second))
    with served(late) as (_, second):
        assert key(second) != before
    empty(open_journal(server.url), server.url)
