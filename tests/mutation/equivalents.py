"""Mutants that no test can tell from the original, each with the reason; all were looked at by a person."""

from __future__ import annotations

_COMMIT = "consumer/runtime/commit.py::ShardOwner."
_TABLE = "consumer/state/table.py::Table."

EQUIVALENTS: dict[str, str] = {
    f"{_COMMIT}_initialise: self._tidying = Tidying(self._around, self.shard, self._parents)  <=>  "
    "self._tidying.collect_orphans()": "it begins with other parents; the orphans are the shard's own",
    f"{_COMMIT}_start: self.mode = Mode.ACTIVE  <=>  self._commit_at_init(rows)": (
        "who catches what commit 0 raises sets the mode"
    ),
    f"{_COMMIT}_commit_at_init: self._send(rows)  <=>  self._unacknowledged = True": (
        "an owner that could not send never commits again"
    ),
    f"{_COMMIT}_resend: if outbox:  <=>  self.mode = Mode.FROZEN": "who catches what a commit raises sets the mode",
    f"{_COMMIT}commit: self._write_commit(outbox, ended=ended)  <=>  "
    "self._pending, self._pending_since, self._pending_bytes = [], None, 0": (
        "an owner whose commit failed never commits again"
    ),
    f"{_COMMIT}commit: self._pending, self._pending_since, self._pending_bytes = [], None, 0  <=>  if outbox:": (
        "an owner that could not send never commits again"
    ),
    f"{_COMMIT}commit: self._send(outbox)  <=>  self._unacknowledged = True": (
        "an owner that could not send never commits again"
    ),
    f"{_COMMIT}commit: if not ended and position is not None and self._delivered is not None:  <=>  "
    "if ended and outbox:": "one is for ended states, the other for all others",
    f"{_COMMIT}commit: if not ended and position is not None and self._delivered is not None:  =>  "
    "if ((not ended) and (self._delivered is not None)):": "what was delivered has a position; the types need it said",
    f"{_COMMIT}commit: if ended and outbox:  <=>  "
    "unused = self._compaction.unused(self._manifest, commit_no=self._commit_no)": (
        "to record the delivery of an ended state's rows takes up no merge"
    ),
    f"{_COMMIT}commit: self._superseded = self._tidying.delete([*self._superseded, *unused])  <=>  "
    "self._tidying.retire_parents()": "both throw away what nothing refers to",
    f"{_COMMIT}commit: self._tidying.retire_parents()  <=>  if not ended:": (
        "merging this shard's entries and retiring others have nothing in common"
    ),
    f"{_COMMIT}_write_commit: if not (base or was_ended):  =>  if not (((base))):": (
        "an entry that was merged just before a shard's end may be taken up; it need not be"
    ),
    f"{_COMMIT}_write_commit: self._fence(state, was_ended=was_ended)  <=>  "
    "self._superseded += [entry for entry in self._manifest if entry not in manifest]": (
        "an owner that is fenced deletes nothing"
    ),
    "consumer/core/processor.py::Processor._goes_on_closing: "
    "return self.closing and self._core.close(self._core.watermark_ms) <= self._core.watermark_ms  =>  "
    "return ((self._core.close(self._core.watermark_ms) <= self._core.watermark_ms))": (
        "to close where nothing is due gives nothing; it is quicker not to try"
    ),
    "consumer/state/base.py::verify: "
    "if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:  =>  "
    "if ((hashlib.sha256(data).hexdigest() != entry.sha256)):": "bytes of another length have another hash",
    f"{_TABLE}_was_refused: if codes <= _MAY_PASS:  =>  if codes < _MAY_PASS:": (
        "two requests have two reasons at most, and there are four"
    ),
}
"""Name of the mutant to why it is alike."""
