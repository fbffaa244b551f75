"""Watches that ask for the same see the same bytes, made once; those that ask for something else see their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import orjson

from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.entries import Batch, Change, Entry
from oarlock.cluster.apiserver.lens import Lens, Lenses
from oarlock.cluster.apiserver.negotiation import Representation
from oarlock.cluster.apiserver.rendering import TableOptions
from oarlock.cluster.apiserver.selection import Selection
from oarlock.cluster.objects.resources import lookup
from oarlock.cluster.objects.selectors import parse_fields, parse_labels

RESOURCE = lookup("", "v1", "configmaps")
assert RESOURCE is not None
OPTIONS = TableOptions("", clock.now)
PLAIN, TABLE = Representation(), Representation(transform="Table", version="v1")


def selected(labels: str = "") -> Selection:
    assert RESOURCE is not None
    prefix = RESOURCE.key_prefix
    return Selection(RESOURCE, prefix, prefix[:-1] + b"0", parse_labels(labels), parse_fields(""))


def entry(revision: int, colour: str) -> Entry:
    wire = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"%d","name":"a","labels":{"c":"%b"}}}'
    return Entry(selected().start + b"default/a", wire % (revision, colour.encode()), 1, revision)


def later() -> datetime:
    return clock.now()


def event(chunk: bytes) -> tuple[str, str]:
    size, _, rest = chunk.partition(b"\r\n")
    line = rest[: int(size, 16)]
    assert rest[len(line) :] == b"\r\n"
    told = orjson.loads(line)
    return told["type"], told["object"]["kind"]


def seen(lens: Lens, change: Change) -> bytes:
    return lens.see(Batch([change]))[0]


def test_equal_watches_share_a_lens_and_others_do_not() -> None:
    lenses = Lenses()
    one = lenses.of(selected("c=red"), PLAIN, OPTIONS)
    assert lenses.of(selected("c=red"), PLAIN, TableOptions("", later)) is one
    others = [
        lenses.of(selected("c=blue"), PLAIN, OPTIONS),
        lenses.of(selected("c=red"), TABLE, OPTIONS),
        lenses.of(selected("c=red"), PLAIN, TableOptions("Object", clock.now)),
        lenses.of(replace(selected("c=red"), start=b"/registry/core/configmaps/default/"), PLAIN, OPTIONS),
    ]
    assert len({id(lens) for lens in (one, *others)}) == 5


def test_what_a_lens_shows_of_a_change_is_the_selection_s_and_the_representation_s() -> None:
    lenses = Lenses()
    turned = Change(7, entry(6, "red"), entry(7, "blue"))
    red, blue, green = (lenses.of(selected(f"c={colour}"), PLAIN, OPTIONS) for colour in ("red", "blue", "green"))
    assert event(seen(red, turned)) == ("DELETED", "ConfigMap")
    assert event(seen(blue, turned)) == ("ADDED", "ConfigMap")
    assert seen(green, turned) == b""
    everything, table = (lenses.of(selected(), one, OPTIONS) for one in (PLAIN, TABLE))
    assert event(seen(everything, turned)) == ("MODIFIED", "ConfigMap")
    assert event(seen(table, turned)) == ("MODIFIED", "Table")


def test_what_is_told_together_is_judged_once_for_all_that_look_alike() -> None:
    judged = []

    class Counted(Lens):
        def _chunk(self, change: Change) -> bytes:
            judged.append(change)
            return super()._chunk(change)

    red, blue = (Counted(selected(f"c={colour}"), TABLE, OPTIONS) for colour in ("red", "blue"))
    changes = [Change(7, None, entry(7, "red"))]
    batch = Batch(changes)
    first = [red.see(batch) for _ in range(5)]
    assert len(judged) == 1
    assert len(set(first)) == 1
    assert blue.see(batch) == (b"", 0)
    assert red.see(Batch(changes)) == first[0]
    assert len(judged) == 3


def test_of_several_changes_those_are_seen_that_are_selected_and_only_the_first_tells_the_columns() -> None:
    lens = Lenses().of(selected("c=red"), TABLE, TableOptions("Metadata", clock.now, headers=True))
    colours = {7: "blue", 8: "red", 9: "red"}
    changes = Batch(Change(number, None, entry(number, colour)) for number, colour in colours.items())
    chunks, count = lens.see(changes)
    columns = []
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        columns.append(bool(orjson.loads(rest[: int(size, 16)])["object"]["columnDefinitions"]))
        chunks = rest[int(size, 16) + 2 :]
    assert count == 2
    assert columns == [True, False]
    assert lens.after is not None
    assert lens.after.see(Batch(changes[:1])) == (b"", 0)
