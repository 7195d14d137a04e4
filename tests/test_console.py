"""The console in a real browser, before a real server over the built-in shop."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs playwright, of the extra dev")
pytest.importorskip("litestar", reason="needs the extra serve")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from console_worlds import PATIENCE, Server, browser, shop_server
from m6rec.serving.keys import KeyRing

RELATED = re.compile("near those of|often cho|was chosen")
VIEWS = ("shoppers", "chat", "import", "health")
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shop_server(tmp_path_factory.mktemp("console")) as found:
        yield found


@pytest.fixture(scope="module")
def chromium(server: Server) -> Iterator[Browser]:
    with browser() as found:
        yield found


@dataclass
class Visit:
    """A page, and what went wrong or abroad while it was open."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    abroad: list[str] = field(default_factory=list)

    def open(self, address: str) -> Page:
        """Goes to a part of the console."""
        self.page.goto(f"{self.url}#/{address}")
        return self.page


@pytest.fixture
def visit(server: Server, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit with a clean memory; it ends well if nothing failed and nobody else was asked."""
    wishes: dict[str, Any] = getattr(request, "param", {"viewport": {"width": 1280, "height": 900}})
    context = chromium.new_context(**wishes)
    context.set_default_timeout(PATIENCE)
    found = Visit(context.new_page(), server.url)
    page = found.page
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    page.on(
        "console",
        lambda said: (
            found.errors.append(said.text)
            if said.type == "error" and "Failed to load resource" not in said.text
            else None
        ),
    )
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(server.url) else found.abroad.append(asked.url),
    )
    yield found
    context.close()
    assert not found.errors
    assert not [url for url in found.abroad if not url.startswith(("blob:", "data:"))]


def asked(server: Server, path: str, body: dict[str, Any] | None = None) -> Any:
    """What the server says without the console."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(server.url + path, data, headers)) as answer:
        return json.load(answer)


def titles(page: Page) -> list[str]:
    """The recommendations, once they are all there."""
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    return page.locator("#answer .title").all_inner_texts()


def someone(server: Server) -> str:
    """A shopper who did something beside looking at a page."""
    for one in asked(server, "v1/find/users?limit=100")["users"]:
        name = urllib.parse.quote(one["user_id"])
        events = asked(server, f"v1/users/{name}/events")["events"]
        if sum(event["event"] != "impression" for event in events) >= 5:
            return str(one["user_id"])
    raise AssertionError("the shop has no such shopper")


def pick(visit: Visit, user: str) -> Page:
    """The page of a shopper with its answer."""
    page = visit.open(f"shoppers/{user}")
    expect(page.locator("#person")).to_have_text(user)
    expect(page.locator("#history li").first).to_be_visible()
    expect(page.locator("#answer .reason").first).not_to_be_empty()
    return page


def test_a_shopper_is_found_by_a_part_of_the_id_and_sees_what_the_server_answers(
    server: Server, visit: Visit
) -> None:
    user = someone(server)
    page = visit.open("shoppers")
    expect(page.locator("#recent a").first).to_have_text("A new visitor")
    page.get_by_label("Find a shopper").fill(user[-4:])
    page.get_by_role("option", name=user, exact=True).click()
    expect(page.locator("#person")).to_have_text(user)
    expect(page.locator("#answer .reason").first).to_contain_text(RELATED)
    answer = asked(server, "v1/recommend", {"user_id": user, "k": 10})
    assert titles(page) == [item["title"] for item in answer["items"]]
    score = answer["items"][0]["score"]
    expect(page.locator("#answer .score span").first).to_have_text(f"{score:.3f}")
    page.get_by_text("How this came about").click()
    expect(page.locator("#steps")).to_contain_text("retrieve")


def test_a_history_that_is_changed_changes_the_answer_and_can_be_undone(
    server: Server, visit: Visit
) -> None:
    last = asked(server, "v1/users/" + (user := someone(server)) + "/events?limit=200")
    done = [event for event in last["events"] if event["event"] != "impression"]
    page = pick(visit, user)
    before = titles(page)
    row = page.locator("#history li").first
    expect(row.locator(".title")).to_have_text(done[-1]["title"])
    row.get_by_role("button", name="Leave out").click()
    expect(row.get_by_role("button", name="Put back")).to_be_focused()
    page.get_by_label("Item, or any words").fill("headphones")
    page.get_by_role("option", name="“headphones”").click()
    expect(page.locator("#history li.added .title")).to_have_text("headphones")
    expect(page.locator("#answer .moved").first).to_be_visible()
    expect(page.locator("#told")).to_contain_text("of them new")
    assert titles(page) != before
    page.get_by_role("button", name="Undo changes").click()
    expect(page.locator("#history li.added, #history li.out")).to_have_count(0)
    expect(page.locator("#answer .title").first).to_have_text(before[0])
    assert titles(page) == before
    assert asked(server, f"v1/users/{user}/events?limit=200") == last


def test_a_new_visitor_is_served_by_the_keyboard_alone(visit: Visit) -> None:
    page = visit.open("shoppers")
    popular = titles(page)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Find a shopper")).to_be_focused()
    expect(page.locator("#recent a").nth(8)).to_be_visible()
    while not page.locator("#what").evaluate("one => one === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.type("tent")
    field = page.get_by_label("Item, or any words")
    expect(field).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(page.locator("[role=option]").nth(1)).to_have_attribute("aria-selected", "true")
    chosen = page.locator("[role=option][aria-selected=true] span").inner_text()
    page.keyboard.press("Enter")
    expect(field).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#history li .title")).to_have_text(chosen)
    expect(page.locator("#answer .reason").first).to_contain_text(RELATED)
    assert titles(page) != popular


def test_a_chat_streams_a_reply_with_items_of_the_catalogue(server: Server, visit: Visit) -> None:
    page = visit.open("chat")
    expect(page.get_by_label("Your message")).to_be_focused()
    page.keyboard.type("I need a tent")
    page.keyboard.press("Enter")
    offer = page.locator(".turn.it .offers .title").first
    expect(offer).to_be_visible()
    title = offer.inner_text()
    known = [item["title"] for item in asked(server, "v1/items?limit=1000")["items"]]
    assert title in known
    expect(page.locator(".turn.it p").first).to_contain_text(title)
    page.get_by_label("Your message").fill("no, something else")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".turn.it[aria-busy=false]")).to_have_count(2)
    expect(page.locator(".turn.it p").nth(1)).not_to_contain_text(title)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)


def choose(page: Page, name: str, text: str) -> None:
    """Gives the page a file."""
    file = {"name": name, "mimeType": "text/csv", "buffer": text.encode()}
    page.get_by_label("Choose a CSV file").set_input_files(file)  # type: ignore[arg-type]
    expect(page.locator("#counted")).to_contain_text(name)


def test_a_file_of_items_is_taken_once_and_its_wrong_lines_are_shown(
    server: Server, visit: Visit
) -> None:
    page = visit.open("import")
    good = "".join(f"chair-{n};Folding chair {n};{n},50;red\n" for n in range(3))
    wrong = f"chair-x;;1;blue\nchair-y;Chair;free;blue\nchair-z;{'long ' * 500};1;blue\n"
    choose(page, "chairs.csv", "id;product;price;colour\n" + good + wrong)
    expect(page.locator("#columns tbody tr")).to_have_count(5)
    expect(page.get_by_label("What product is")).to_have_value("title")
    page.get_by_label("What product is").select_option("")
    expect(page.get_by_role("button", name="Upload")).to_be_disabled()
    expect(page.locator("#missing")).to_have_text("Still needed: Title.")
    page.get_by_label("What product is").select_option("title")
    page.get_by_role("button", name="Upload 6 lines").click()
    expect(page.locator("#outcome")).to_have_text("3 items taken, 3 lines not taken, see below.")
    said = page.locator("#rejects tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in said] == ["5", "6", "7"]
    assert "Title is empty" in said[0] and "“free” is not understood" in said[1]
    assert "title" in said[2] and "2000" in said[2]
    assert asked(server, "v1/items/chair-1") == {
        "item_id": "chair-1",
        "title": "Folding chair 1",
        "price": 1.5,
        "colour": "red",
    }
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    assert saved.value.suggested_filename == "rejected-chairs.csv"
    search = {"events": [{"user_id": "u", "event": "search", "query": "q"}]}
    before = asked(server, "v1/events", search)
    page.get_by_role("button", name="Upload 6 lines").click()
    expect(page.locator("#outcome")).to_contain_text("3 items taken")
    after = asked(server, "v1/events", search)
    assert after["last"] == before["last"] + 1, "the second upload was kept again"


def test_a_file_of_events_becomes_a_history(server: Server, visit: Visit) -> None:
    item = asked(server, "v1/items?limit=1")["items"][0]
    page = visit.open("import")
    page.get_by_label("Events").check()
    choose(page, "log.csv", f"customer,sku,date\nann,{item['item_id']},2026-01-02\n")
    page.get_by_label("every line is a").select_option("cart")
    page.get_by_role("button", name="Upload 1 line").click()
    expect(page.locator("#outcome")).to_have_text("1 event taken.")
    page = visit.open("shoppers/ann")
    expect(page.locator("#history .title")).to_have_text(item["title"])
    expect(page.locator("#history .did")).to_have_text("put in the cart")


def test_what_shops_write_is_never_read_as_html(server: Server, visit: Visit) -> None:
    title = "<img src=x onerror=\"document.title='bad'\"><b>Kettle</b>"
    item = {"item_id": "<i>kettle", "title": title, "category": "<b>A</b>"}
    asked(server, "v1/items", {"items": [item]})
    event = {"user_id": "<b>eve", "event": "<u>click</u>", "item_id": item["item_id"]}
    asked(server, "v1/events", {"events": [event]})
    page = visit.open("shoppers")
    page.get_by_label("Find a shopper").fill("eve")
    page.get_by_role("option", name="<b>eve").click()
    expect(page.locator("#history .title")).to_have_text(title)
    page.get_by_label("Item, or any words").fill("Kettle")
    page.get_by_role("option", name=title).click()
    expect(page.locator("#history .title").first).to_have_text(title)
    expect(page.locator("#answer .reason").first).to_contain_text("<b>Kettle</b>")
    assert page.locator("main img, main b, main i, main u").count() == 0
    assert page.title() == "Shoppers · m6rec"


def test_health_draws_what_the_metrics_say(server: Server, visit: Visit) -> None:
    page = visit.open("health")
    expect(page.locator("#tiles dd").first).to_be_visible()
    for _ in range(3):
        asked(server, "v1/recommend", {"history": ["clicked: tent"]})
    expect(page.locator(".bars .name").first).to_have_text("encode")
    figures = page.get_by_role("img", name="Time to recommend, now")
    expect(figures.locator(".line-0")).to_have_attribute("d", re.compile(r"^M"))
    with urllib.request.urlopen(server.url + "metrics") as told:
        lines = told.read().decode().splitlines()
    size = next(line.split()[-1] for line in lines if line.startswith("m6rec_index_size{"))
    expect(page.locator("#tiles dd").first).to_have_text(f"{float(size):,.0f}")
    page.get_by_text("The same as a table").click()
    expect(page.locator("#figures tbody tr").first).to_be_visible()


def opened(visit: Visit, view: str, user: str) -> Page:
    """A view with something in it."""
    if view == "shoppers":
        return pick(visit, user)
    page = visit.open(view)
    if view == "chat":
        page.get_by_label("Your message").fill("I need a tent")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".turn.it .offers")).to_be_visible()
    elif view == "import":
        choose(page, "wide.csv", "id,name,price\n1,,3\n")
        page.get_by_role("button", name="Upload").click()
        expect(page.locator("#rejects tbody tr")).to_have_count(1)
    else:
        expect(page.locator("#charts figure")).to_have_count(5)
    return page


PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize(
    "visit",
    [
        {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
        {"color_scheme": "dark", "viewport": PHONE, "has_touch": True},
    ],
    ids=["light", "dark-phone"],
    indirect=True,
)
@pytest.mark.parametrize("view", VIEWS)
def test_a_page_is_accessible_and_fits(server: Server, visit: Visit, view: str) -> None:
    page = opened(visit, view, someone(server))
    found = Axe().run(page, options={"runOnly": WCAG, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, f"{view} is {width} px too wide"


def test_a_server_that_is_away_is_said_and_comes_back(server: Server, visit: Visit) -> None:
    page = visit.open("shoppers")
    expect(page.locator("#answer li").first).to_be_visible()
    page.context.set_offline(True)
    page.locator("#wishes select").select_option("5")
    expect(page.locator("#answer-problem")).to_have_text("The server does not answer.")
    expect(page.locator("#state")).to_have_text("No connection")
    page.context.set_offline(False)
    page.locator("#wishes select").select_option("20")
    expect(page.locator("#answer li")).to_have_count(20)
    expect(page.locator("#answer-problem")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("Ready")


def test_a_server_with_keys_asks_for_one_and_keeps_it_for_the_tab(
    server: Server, visit: Visit
) -> None:
    """The last one here: a server that has had a key needs one for the rest of its life."""
    ring = KeyRing(server.state)
    _, token = ring.add("console", ["read"])
    page = visit.open("shoppers")
    dialog = page.get_by_role("dialog", name="This server asks for an API key")
    expect(dialog.get_by_label("API key")).to_be_focused()
    page.keyboard.type("m6_wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("not known")
    dialog.get_by_label("API key").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#answer li").first).to_be_visible()
    expect(dialog).to_be_hidden()
    kept = page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]")
    assert kept == [1, 0, ""]
    page.reload()
    expect(page.locator("#answer li").first).to_be_visible()
    page.goto(f"{server.url}#/health")
    expect(page.get_by_role("alert")).to_have_text("this key lacks the scope 'metrics'")
    page.get_by_role("button", name="Forget key").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#health-problem")).to_contain_text("give an API key")
