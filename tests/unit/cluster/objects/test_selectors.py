"""Label and field selectors: what they choose, and how upstream refuses bad ones."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import selectors
from oarlock.cluster.objects.selectors import LabelSelector, Operator, Requirement
from oarlock.cluster.objects.status import ApiError

NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", {"0", "1", "2", "3"}),
        ("set=s", {"0", "1", "2", "3"}),
        ("set==s", {"0", "1", "2", "3"}),
        ("set!=s,n", set()),
        ("n in (1,2)", {"1", "2"}),
        ("n notin (1,2),set", {"0", "3"}),
        ("odd", {"1", "3"}),
        ("!odd,set", {"0", "2"}),
        ("n>1", {"2", "3"}),
        ("n < 1", {"0"}),
        ("n in ()", set()),
        ("odd in (,x)", {"1", "3"}),
        ("absent notin (a)", {"0", "1", "2", "3"}),
        ("odd=", {"1", "3"}),
    ],
)
def test_what_label_selectors_choose(text: str, chosen: set[str]) -> None:
    selector = selectors.parse_labels(text)
    objects = [{"set": "s", "n": str(n), **({"odd": ""} if n % 2 else {})} for n in range(4)]
    assert {labels["n"] for labels in objects if selector.matches(labels)} == chosen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",,", "found ',', expected: !, identifier, or 'end of string'"),
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("-bad=x", f'unable to parse requirement: <nil>: Invalid value: "-bad": {NAME_RULE}'),
        (
            "x=" + "y" * 70,
            f'unable to parse requirement: values[0][x]: Invalid value: "{"y" * 70}": must be no more than 63 bytes',
        ),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a=b c=d", "found 'c', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a>x",
            (
                'unable to parse requirement: values[0]: Invalid value: "x": '
                "for 'Gt', 'Lt' operators, the value must be an integer"
            ),
        ),
    ],
)
def test_label_selectors_are_refused_in_upstreams_words(text: str, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        selectors.parse_labels(text)
    assert (refusal.value.code, refusal.value.message) == (400, message)


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        (None, {"a": "1"}, False),
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selector_objects(selector: Any, labels: dict[str, str], matches: bool) -> None:
    assert selectors.from_object(selector).matches(labels) is matches


def test_selector_texts() -> None:
    selector = {
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [{"key": "aa", "operator": "In", "values": ["y", "x"]}],
    }
    assert str(selectors.from_object(selector)) == "a=1,aa in (x,y),b=2"
    assert not selectors.from_labels({}).matches({"a": "1"})
    assert selectors.EVERYTHING.everything
    assert not selectors.NOTHING.everything
    with pytest.raises(ApiError, match='"Like" is not a valid label selector operator'):
        selectors.from_object({"matchExpressions": [{"key": "a", "operator": "Like"}]})


words = st.from_regex(r"[a-z]([a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)
requirements = st.one_of(
    st.builds(Requirement, words, st.sampled_from([Operator.EXISTS, Operator.DOES_NOT_EXIST])),
    st.builds(Requirement, words, st.just(Operator.NOT_EQUALS), words.map(lambda word: frozenset({word}))),
    st.builds(
        Requirement,
        words,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.frozensets(words, min_size=1, max_size=3),
    ),
)


@given(st.lists(requirements, max_size=4), st.dictionaries(words, words, max_size=4))
def test_a_selectors_text_chooses_the_same(found: list[Requirement], labels: dict[str, str]) -> None:
    selector = LabelSelector(tuple(found))
    assert selectors.parse_labels(str(selector)).matches(labels) == selector.matches(labels)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (selectors.parse_labels, selectors.parse_fields):
        with contextlib.suppress(ApiError):
            assert parse(text).matches({}) in (True, False)


def test_field_selectors() -> None:
    selector = selectors.parse_fields("status.phase!=Running,metadata.name==a\\,b")
    assert selector.exact("metadata.name") == "a,b"
    assert selector.exact("status.phase") is None
    assert selector.matches({"metadata.name": "a,b", "status.phase": "Pending"})
    assert not selector.matches({"metadata.name": "a,b", "status.phase": "Running"})
    assert str(selector) == "metadata.name=a\\,b,status.phase!=Running"
    assert selectors.parse_fields("").everything


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=b\\c", "invalid field selector: invalid escape sequence: \\c"),
    ],
)
def test_field_selectors_are_refused_in_upstreams_words(text: str, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        selectors.parse_fields(text)
    assert (refusal.value.code, refusal.value.message) == (400, message)
