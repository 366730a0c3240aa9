"""The usual processor: amazon-kclpy's own loop, json, dicts of windows, a checkpoint every five seconds.

Started by the daemon once a shard, as `python -m bench.processors.kclpy_processor DIRECTORY`. It stands for
what people write: count and sum a page and minute, visits by gaps, windows closed a little behind the newest event.
It does less than the product: two windows instead of three, no state that survives a crash, finished rows are made
and thrown away.
"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor

from bench.processors.tally import CHECKPOINT_SECONDS, Tally

MINUTE_S = 60
GAP_S = 30 * 60
OUT_OF_ORDER_S = 10
FUTURE_S_MAX = 3600


class Aggregates:
    """Page views a minute, and visits."""

    def __init__(self) -> None:
        self.newest_s = 0.0
        self.pages: dict[tuple[int, str | None], dict[str, float]] = {}
        self.visits: dict[str, dict[str, Any]] = {}

    def add(self, event: dict[str, Any]) -> list[str]:
        """Count an event; return the row of a visit that it shows to have ended."""
        time_s = datetime.fromisoformat(event["event_time"]).timestamp()
        if time_s > time.time() + FUTURE_S_MAX:
            raise ValueError(event["event_time"])
        self.newest_s = max(self.newest_s, time_s)
        revenue = event.get("amount", 0.0) * event.get("quantity", 1)
        key = (int(time_s) // MINUTE_S, event.get("page"))
        page = self.pages.get(key)
        if page is None:
            page = self.pages[key] = {"views": 0, "revenue": 0.0}
        page["views"] += 1
        page["revenue"] += revenue
        return self._add_to_visit(event, time_s, revenue)

    def _add_to_visit(self, event: dict[str, Any], time_s: float, revenue: float) -> list[str]:
        user, rows = event["user_id"], []
        visit = self.visits.get(user)
        if visit is not None and time_s - visit["ended"] > GAP_S:
            rows.append(json.dumps({"user_id": user, **visit}))
            visit = None
        if visit is None:
            visit = self.visits[user] = {"events": 0, "revenue": 0.0, "started": time_s, "ended": time_s}
        visit["events"] += 1
        visit["revenue"] += revenue
        visit["started"] = min(visit["started"], time_s)
        visit["ended"] = max(visit["ended"], time_s)
        return rows

    def close(self) -> list[str]:
        """Return the rows of all windows that have ended."""
        now_s = self.newest_s - OUT_OF_ORDER_S
        minutes = [key for key in self.pages if (key[0] + 1) * MINUTE_S <= now_s]
        users = [user for user, visit in self.visits.items() if visit["ended"] + GAP_S < now_s]
        rows = [json.dumps({"minute": key[0], "page": key[1], **self.pages.pop(key)}) for key in minutes]
        return rows + [json.dumps({"user_id": user, **self.visits.pop(user)}) for user in users]


class RecordProcessor(processor.RecordProcessorBase):  # type: ignore[misc]  # no types there
    """One shard."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory
        self._tally = Tally()
        self._aggregates = Aggregates()
        self._checkpointed_s = time.monotonic()
        self._sequence_number: str | None = None

    def initialize(self, initialize_input: Any) -> None:
        """Note the shard."""
        self._path = self._directory / f"{initialize_input.shard_id}.json"

    def process_records(self, process_records_input: Any) -> None:
        """Count every record; checkpoint from time to time."""
        for record in process_records_input.records:
            self._process_record(record)
        self._tally.results += len(self._aggregates.close())
        if process_records_input.records and self._tally.first_record_s is None:
            self._tally.first_record_s = time.monotonic()
        if time.monotonic() - self._checkpointed_s >= CHECKPOINT_SECONDS:
            self._checkpoint(process_records_input.checkpointer)

    def _process_record(self, record: Any) -> None:
        self._tally.records += 1
        self._sequence_number = record.sequence_number
        try:
            event = json.loads(record.binary_data)
            self._tally.results += len(self._aggregates.add(event))
        except (ValueError, KeyError, TypeError):
            self._tally.unusable += 1

    def _checkpoint(self, checkpointer: Any) -> None:
        if self._sequence_number is not None:
            checkpointer.checkpoint(self._sequence_number)
            self._sequence_number = None
            self._tally.checkpoints += 1
            self._tally.write(self._path)
        self._checkpointed_s = time.monotonic()

    def lease_lost(self, lease_lost_input: Any) -> None:
        """Nothing can be done."""

    def shard_ended(self, shard_ended_input: Any) -> None:
        """Checkpoint the end."""
        shard_ended_input.checkpointer.checkpoint()

    def shutdown_requested(self, shutdown_requested_input: Any) -> None:
        """Checkpoint what was processed."""
        self._checkpoint(shutdown_requested_input.checkpointer)


if __name__ == "__main__":
    kcl.KCLProcess(RecordProcessor(Path(sys.argv[1]))).run()
