"""The journal: what was synced is there after a crash, what is damaged is refused, what is torn is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.consensus.journal import Entry, Journal
from oarlock.consensus.storage import StorageFault


def filled(folder: Path, count: int, *, segment_bytes: int = 1 << 20) -> Journal:
    """Return a journal with entries 1 to `count`, each synced as a batch of its own."""
    journal = Journal(folder, segment_bytes=segment_bytes)
    for index in range(1, count + 1):
        journal.append(Entry(b"entry %d" % index, index, 1))
        journal.sync()
    return journal


def contents(journal: Journal) -> list[Entry]:
    return journal.after(journal.first_index - 1, 1 << 30) if len(journal) else []


def test_synced_entries_and_votes_survive(tmp_path: Path) -> None:
    journal = filled(tmp_path, 5)
    journal.set_hard_state(7, "b")
    journal.sync()
    journal.append(Entry(b"never synced", 6, 7))
    journal.close()
    again = Journal(tmp_path)
    assert [entry.index for entry in contents(again)] == [1, 2, 3, 4, 5]
    assert (again.term, again.vote, again.durable_index, again.durable_term) == (7, "b", 5, 7)


@pytest.mark.parametrize("cut", [1, 5, 23, 30])
def test_a_torn_tail_is_cut_off(tmp_path: Path, cut: int) -> None:
    filled(tmp_path, 5).close()
    segment = next(tmp_path.glob("*.log"))
    segment.write_bytes(segment.read_bytes()[:-cut])
    again = Journal(tmp_path)
    assert again.last_index == 4
    again.append(Entry(b"new", 5, 2))
    again.sync()
    again.close()
    assert contents(Journal(tmp_path))[-1] == Entry(b"new", 5, 2)


def test_damage_before_the_tail_is_refused_by_file_batch_and_place(tmp_path: Path) -> None:
    filled(tmp_path, 5).close()
    segment = next(tmp_path.glob("*.log"))
    data = bytearray(segment.read_bytes())
    data[data.index(b"entry 3")] ^= 1
    segment.write_bytes(data)
    with pytest.raises(StorageFault, match=r"0000000000000001\.log: batch 3 at byte \d+ .*batch 4 .*restore"):
        Journal(tmp_path)
    assert segment.read_bytes() == data


def test_damage_in_an_earlier_segment_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 40, segment_bytes=300).close()
    first = min(tmp_path.glob("*.log"))
    first.write_bytes(first.read_bytes()[:-3])
    with pytest.raises(StorageFault, match="later segments exist"):
        Journal(tmp_path)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 40, segment_bytes=300).close()
    sorted(tmp_path.glob("*.log"))[2].unlink()
    with pytest.raises(StorageFault, match="is missing"):
        Journal(tmp_path)


def test_compaction_drops_whole_segments_and_keeps_the_rest(tmp_path: Path) -> None:
    journal = filled(tmp_path, 60, segment_bytes=400)
    before = len(list(tmp_path.glob("*.log")))
    journal.set_hard_state(9, "c")
    journal.compact_to(50)
    journal.sync()
    journal.append(Entry(b"x", 61, 9))
    journal.sync()
    journal.close()
    assert len(list(tmp_path.glob("*.log"))) < before / 2
    again = Journal(tmp_path)
    assert (again.first_index, again.last_index, again.term, again.vote) == (50, 61, 9, "c")


def test_truncation_and_reset_survive(tmp_path: Path) -> None:
    journal = filled(tmp_path, 6)
    journal.truncate_from(4)
    journal.append(Entry(b"other", 4, 2))
    journal.sync()
    journal.close()
    again = Journal(tmp_path)
    assert [entry.term for entry in contents(again)] == [1, 1, 1, 2]
    again.reset(Entry(b"\x01", 90, 5))
    again.sync()
    again.close()
    assert contents(Journal(tmp_path)) == [Entry(b"\x01", 90, 5)]


def test_a_truncation_during_a_write_leaves_replaced_entries_not_durable(tmp_path: Path) -> None:
    journal = filled(tmp_path, 3)
    for index in (4, 5, 6):
        journal.append(Entry(b"old", index, 1))
    commit = journal.take()
    journal.truncate_from(5)
    journal.append(Entry(b"new", 5, 2))
    journal.append(Entry(b"new", 6, 2))
    commit.write()
    journal.done(commit)
    assert journal.durable_index == 4
    journal.sync()
    assert journal.durable_index == 6


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_history_is_read_back(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = filled(folder, 1, segment_bytes=200)
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["append", "append", "append", "truncate", "compact", "vote", "reopen"]))
        if action == "append":
            body = data.draw(st.binary(max_size=40))
            journal.append(Entry(body, journal.last_index + 1, journal.last_term + data.draw(st.integers(0, 1))))
        elif action == "truncate" and len(journal) > 1:
            journal.truncate_from(data.draw(st.integers(journal.first_index + 1, journal.last_index)))
        elif action == "compact":
            journal.compact_to(data.draw(st.integers(journal.first_index, journal.last_index)))
        elif action == "vote":
            journal.set_hard_state(journal.term + 1, data.draw(st.sampled_from(["a", "b", None])))
        journal.sync()
        if action == "reopen":
            expected = contents(journal), journal.term, journal.vote, journal.bytes_held
            journal.close()
            journal = Journal(folder, segment_bytes=200)
            assert (contents(journal), journal.term, journal.vote, journal.bytes_held) == expected
    journal.close()
