"""Numbers as people read them: short, with a unit, the same everywhere."""

from __future__ import annotations

NOTHING = "\u2013"
"""For what is not known, or has not been."""

_BYTES_STEP = 1000
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def number(value: float | None) -> str:
    """Return a count: 12,345."""
    return NOTHING if value is None else f"{value:,.0f}"


def rate(value: float) -> str:
    """Return a number a second: 0.4, 17, 12,345."""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"  # noqa: PLR2004 - one digit


def duration(seconds: float | None) -> str:
    """Return a time span: 34 ms, 1.2 s, 42 s, 3 min 5 s, 2 h 7 min, 4 d 3 h."""
    if seconds is None:
        return NOTHING
    if seconds < 0:
        return f"\u2212{duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds else "0 s"
    if seconds < 9.95:  # noqa: PLR2004 - one digit
        return f"{seconds:.1f} s"
    return _long(round(seconds))


def _long(seconds: int) -> str:
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return _two(seconds // _MINUTE, "min", seconds % _MINUTE, "s")
    if seconds < _DAY:
        return _two(seconds // _HOUR, "h", seconds % _HOUR // _MINUTE, "min")
    return _two(seconds // _DAY, "d", seconds % _DAY // _HOUR, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large:,} {large_unit} {small} {small_unit}" if small else f"{large:,} {large_unit}"


def size(size_bytes: float | None) -> str:
    """Return a size: 812 B, 9.8 KB, 31 MB."""
    if size_bytes is None:
        return NOTHING
    for unit in ("B", "KB", "MB"):
        if size_bytes < _BYTES_STEP:
            return _digits(size_bytes, unit)
        size_bytes /= _BYTES_STEP
    return _digits(size_bytes, "GB")


def _digits(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if value < 10 and unit != "B" else f"{value:,.0f} {unit}"  # noqa: PLR2004 - one digit


def many(value: int, noun: str) -> str:
    """Return `1 shard`, `2 shards`."""
    return f"{number(value)} {noun}{'' if value == 1 else 's'}"


def clock_time(time: str) -> str:
    """Return the time of day of an ISO-8601 time, to seconds: 03:50:11."""
    return time[11:19]
