"""Templates come from users, texts from anybody: neither can do more than write words."""

from __future__ import annotations

import time

import polars as pl
import pytest

from m6rec.records import Candidate, Event
from m6rec.text import language
from m6rec.text.hygiene import clean
from m6rec.text.sandbox import TemplateError, build_sandbox, compile_template
from m6rec.text.templates import Templates
from m6rec.text.verbalize import Verbalizer

SANDBOX = build_sandbox()
VALUES = {"x": "abc", "n": 3, "some": ["a", "b"], "pair": {"k": 1}, "none": None, "real": 4.0}


def written(source: str) -> str:
    return compile_template(SANDBOX, source, "mine.toml, line {}".format, own=True).render(VALUES)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ x }} {{ n }} {{ some }} {{ none }}{{ nothing }}{{ real }}", "abc 3 a, b 4"),
        ("{{ nothing.at.all['here'] }}", ""),
        ("{% for a in some %}{{ loop.index }}{{ a }}{{ '' if loop.last else ';' }}{% endfor %}",
         "1a;2b"),
        ("{% for k, v in pair.items() %}{{ k }}={{ v }}{% endfor %}", "k=1"),
        ("{{ pair.get('q', 'none') }} {{ x.upper() }} {{ x[:2] }}", "none ABC ab"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{{ n * 2 + n % 2 }}", "7"),
        ("{{ some | join('-') }} {{ x | replace('b', '!') }} {{ 7.256 | round(2) }}",
         "a-b a!c 7.26"),
        ("{{ 'yes' if x is defined and x in ['abc'] else 'no' }}", "yes"),
        ("{{ 'a > b|c, d' | parts | length }} {{ 'a > b' | listed }}", "4 a, b"),
    ],
)  # fmt: skip
def test_a_template_writes_values(source: str, text: str) -> None:
    assert written(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ x.__class__ }}",
        "{{ x['__class__'] }}",
        "{{ x['__cl' ~ 'ass__'] }}",
        "{{ [x] | map(attribute='__class__') | list }}",
        "{{ x | attr('__class__') }}",
        "{{ some | map('attr', '__class__') | list }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x.upper.__self__ }}",
        "{{ x.upper }}",
        "{{ x.format(1) }}",
        "{{ x.encode() }}",
        "{{ some.append(1) }}",
        "{{ pair.update({'a': 1}) }}",
        "{{ lipsum() }}",
        "{{ (x.upper)() and ('a' or x)() }}",
    ],
)
def test_nothing_behind_a_value_can_be_reached(source: str) -> None:
    with pytest.raises(TemplateError, match=r"^mine\.toml, line 1: "):
        written(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% include '/etc/passwd' %}", "it can not include another"),
        ("{% import 'a' as b %}", "it can not import another"),
        ("{% from 'a' import b %}", "it can not import another"),
        ("{% extends 'a' %}", "it can not extend another"),
        ("{% set a = 1 %}", "assign is out of reach"),
        ("{% set a %}b{% endset %}", "assignblock is out of reach"),
        ("{% with a = 1 %}{% endwith %}", "with is out of reach"),
        ("{% macro f() %}{{ f() }}{% endmacro %}", "macro is out of reach"),
        ("{% block a %}{% endblock %}", "block is out of reach"),
        ("{% filter upper %}a{% endfilter %}", "filterblock is out of reach"),
        ("{% autoescape true %}{% endautoescape %}", "out of reach"),
    ],
)
def test_a_template_stands_alone_and_keeps_nothing(source: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        written(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ range(10000000) | list }}", "right is at most 100"),
        ("{{ x * 1000000000 }}", r"\* is for numbers, not for 'abc'"),
        ("{{ 1000000000 * x }}", r"\* is for numbers"),
        ("{{ some * 1000000000 }}", r"\* is for numbers"),
        ("{{ '%1000000000d' % 1 }}", "% is for numbers"),
        ("{{ 9 ** 9 ** 9 }}", "powers are out of reach"),
        ("{{ x | center(1000000000) }}", "No filter named 'center'"),
        ("{{ '%1000000000d' | format(1) }}", "No filter named 'format'"),
        ("{{ x.ljust(1000000000) }}", "a template calls nothing but"),
        ("{% for a in x recursive %}{{ loop(x) }}{% endfor %}", "a loop can not call itself"),
        ("{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
         "at most 2 deep"),
        ("{% for a in range(100) %}{% for b in range(100) %}{{ x }}{% endfor %}{% endfor %}",
         "too long; at most 20000"),
        ("{{ range(100) | join(range(100) | join(x)) }}", "too long; at most 20000"),
        ("{{ x | replace('', x) | replace('', x) | replace('', x) | replace('', x) | replace('', x)"
         " | replace('', x) | replace('', x) | replace('', x) }}", "too long; at most 20000"),
        ("{{ " + "(" * 3000 + "x" + ")" * 3000 + " }}", "too deep"),
        ("x" * 20000, "right is at most 10000"),
    ],
)  # fmt: skip
def test_nothing_grows_without_end(source: str, said: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(TemplateError, match=said):
        written(source)
    assert time.perf_counter() - begin < 1


def test_an_unknown_filter_or_test_names_the_nearest() -> None:
    with pytest.raises(
        TemplateError, match=r"No filter named 'rating_word'; did you mean 'rating_words'"
    ):
        written("{{ n | rating_word }}")
    with pytest.raises(TemplateError, match=r"No test named 'defind'; did you mean 'defined'"):
        written("{{ n is defind }}")


def test_errors_say_the_line_and_the_values() -> None:
    with pytest.raises(TemplateError, match=r"^mine\.toml, line 3: Unexpected end of template"):
        written("a\nb\n{% if x %}")
    with pytest.raises(TemplateError, match=r"line 1: ZeroDivisionError: .*values were \{'n': 3\}"):
        written("{{ 1 / (n - 3) }}")


def test_chance_is_no_filter() -> None:
    assert not {"random", "attr", "pprint", "tojson", "format", "xmlattr"} & set(language.FILTERS)


@pytest.mark.parametrize("attack", ["{{ 7 * 7 }}", "{% for a in b %}", "{{ x.__class__ }}", "{#"])
def test_what_an_item_a_user_or_a_query_says_is_never_a_template(attack: str) -> None:
    items = pl.DataFrame({"item_id": ["a"], "title": [attack], "category": [attack]})
    users = pl.DataFrame({"user_id": ["u"], "note": [attack]})
    verbalizer = Verbalizer(Templates.load(), items, users)
    assert verbalizer.item("a").text == f"{attack} ({attack})"
    assert verbalizer.item(Candidate(text=attack)).text == attack
    assert verbalizer.query(attack).text == f"searches: {attack}"
    assert verbalizer.context(attack).text == attack
    profile = verbalizer.profile("u")
    assert profile is not None and profile.text == f"note: {attack}"
    said = [
        verbalizer.event(event, None, 0).text
        for event in (Event("click", "a"), Event("click", text=attack), Event(attack, text="b"))
    ]
    assert said == [
        f"clicked: {attack}",
        f"clicked: {attack}",
        f"{clean(attack.replace('_', ' '))}: b",
    ]
