from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.emulator.record_log import SEGMENT_BYTES, RecordLog, StoredRecord, encode_record


def filled(sizes: list[int]) -> tuple[RecordLog, list[StoredRecord]]:
    log, stored = RecordLog(), []
    for number, size in enumerate(sizes):
        data, key = bytes([number % 251]) * size, f"kü{number}"
        sequence_number = f"{number:056d}"
        encoded = encode_record(sequence_number.encode(), 1_000 + number, data, key.encode())
        log.append(number * 2, 1_000 + number, len(data), encoded)
        stored.append(StoredRecord(sequence_number, 1_000 + number, data, key))
    return log, stored


SIZES = st.lists(st.one_of(st.integers(0, 300), st.sampled_from([65_535, 65_536, SEGMENT_BYTES])), max_size=12)


@given(sizes=SIZES, first=st.integers(0, 13), end=st.integers(0, 13))
def test_any_page_holds_exactly_its_records(sizes: list[int], first: int, end: int) -> None:
    log, stored = filled(sizes)
    first, end = min(first, len(stored)), min(end, len(stored))
    page = log.page(first, end)
    assert page.decode() == stored[first:end]
    assert page.count == len(stored[first:end])


def test_a_page_taken_before_stays_what_it_was_when_more_is_put() -> None:
    log, stored = filled([100] * 5)
    page = log.page(0, 5)
    for _ in range(5_000):
        log.append(99, 9_999, 100, encode_record(b"9" * 56, 9_999, b"x" * 100, b"k"))
    assert page.decode() == stored


@given(sizes=SIZES, first=st.integers(0, 12), records_max=st.integers(1, 5), bytes_max=st.integers(1, 200_000))
def test_a_page_ends_at_the_first_limit_but_holds_a_record(
    sizes: list[int], first: int, records_max: int, bytes_max: int
) -> None:
    log, _ = filled(sizes)
    first = min(first, len(sizes))
    end = log.end_of_page(first, records_max, bytes_max)
    taken = 0
    total = 0
    for size in sizes[first:]:
        if taken and (taken == records_max or total + size > bytes_max):
            break
        taken, total = taken + 1, total + size
    assert end == first + taken
    assert log.data_bytes(first, end) == total


def test_records_are_found_by_counter_and_by_time() -> None:
    log, _ = filled([10] * 10)  # counters 0, 2, .. 18; times 1000 .. 1009
    assert [log.index_at(counter) for counter in (0, 1, 2, 18, 19)] == [0, 1, 1, 9, 10]
    assert [log.index_at_time(time_ms) for time_ms in (0, 1_000, 1_005, 1_010)] == [0, 0, 5, 10]


def test_memory_beside_the_records_is_small() -> None:
    log, stored = filled([250] * 2_000)
    encoded_bytes = sum(len(piece) for piece in log.page(0, len(stored)).pieces)
    columns = (log._counters, log._arrivals_ms, log._data_ends, log._ends)
    assert encoded_bytes < 2_000 * (250 + 150)
    assert sum(column.itemsize * len(column) for column in columns) == 2_000 * 32
