"""The rows that a test expects, checked against the columns that rows have."""

from __future__ import annotations

from typing import Any

from consumer.entrypoints.unit_tests.columns import Columns, ValueProblem, columns_of, read_value
from consumer.entrypoints.unit_tests.definitions import ExpectedRow, Kind
from consumer.entrypoints.unit_tests.form import Form
from consumer.entrypoints.unit_tests.times import Times
from consumer.pipeline.model import Pipeline
from consumer.pipeline.problems import Path as Place
from consumer.pipeline.wording import suggestion


class ExpectationReader:
    """Reads expected rows for one pipeline. What is not sound is left out: it has been noted."""

    def __init__(self, form: Form, pipeline: Pipeline) -> None:
        self._form = form
        self._windows = {window.name: window for window in pipeline.windows}

    def windows(self, place: Place) -> tuple[str, ...]:
        """Return the windows that a test names, in the pipeline's order; all where it names none."""
        if not self._form.has(place):
            return tuple(self._windows)
        named = {self._window(item) for item in self._form.items(place, at_least_one=True)}
        return tuple(name for name in self._windows if name in named) or tuple(self._windows)

    def _window(self, place: Place) -> str | None:
        name = self._form.text(place)
        if name is None or name in self._windows:
            return name
        meant = suggestion(name, self._windows)
        self._form.problem(place, f"there is no window `{name}`{meant}. The windows: {', '.join(self._windows)}")
        return None

    def rows(self, place: Place, windows: tuple[str, ...], times: Times) -> dict[Kind, tuple[ExpectedRow, ...]]:
        """Return the expected rows of each kind, none of a kind that is not named."""
        keys = self._form.mapping(place, tuple(Kind)) or ()
        return {
            kind: tuple(self._rows((*place, kind.value), kind, windows, times)) if kind in keys else () for kind in Kind
        }

    def _rows(self, place: Place, kind: Kind, windows: tuple[str, ...], times: Times) -> list[ExpectedRow]:
        rows = []
        for item in self._form.items(place):
            window = None if kind is Kind.DEAD_LETTERS else self._row_window(item, windows)
            if kind is Kind.RESULTS and window is None:
                self._ask_for_window(item, windows)
                continue
            columns = columns_of(kind, None if window is None else self._windows[window])
            keys = self._form.mapping(item, tuple(columns)) or ()
            values = {key: self._value((*item, key), kind, columns, times) for key in keys}
            rows.append(ExpectedRow(self._form.line(item), window, values))
        return rows

    def _row_window(self, place: Place, windows: tuple[str, ...]) -> str | None:
        """Return the window that a row names, or can only be of."""
        named = (*place, "window")
        if not self._form.has(named):
            return windows[0] if len(windows) == 1 else None
        name = self._window(named)
        if name is not None and name not in windows:
            self._form.problem(named, f"the test looks at {', '.join(windows)} alone (`windows`)")
        return name

    def _ask_for_window(self, place: Place, windows: tuple[str, ...]) -> None:
        if self._form.mapping(place) is not None and not self._form.has((*place, "window")):
            self._form.problem(place, f"must say which window it is of: window: {' | '.join(windows)}")

    def _value(self, place: Place, kind: Kind, columns: Columns, times: Times) -> Any:
        name = str(place[-1])
        try:
            return read_value(kind, name, columns[name], self._form.plain(place), times)
        except ValueProblem as error:
            self._form.problem(place, str(error))
            return None
