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
    f"{_COMMIT}_commit_at_init: send(self._around, self.shard, rows)  <=>  self._unacknowledged = True": (
        "an owner that could not send never commits again"
    ),
    f"{_COMMIT}_commit_at_init: if rows:  <=>  self._tell()": (
        "rows at a beginning are of removed windows; global ones are dropped, so none of these is a contribution"
    ),
    f"{_COMMIT}_resend: if outbox:  <=>  self.mode = Mode.FROZEN": "who catches what a commit raises sets the mode",
    f"{_COMMIT}commit: self._write_commit(outbox, ended=ended)  <=>  "
    "self._pending, self._pending_since, self._pending_bytes = [], None, 0": (
        "an owner whose commit failed never commits again"
    ),
    f"{_COMMIT}commit: self._pending, self._pending_since, self._pending_bytes = [], None, 0  <=>  if outbox:": (
        "an owner that could not send never commits again"
    ),
    f"{_COMMIT}commit: send(self._around, self.shard, outbox)  <=>  self._unacknowledged = True": (
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
    "consumer/core/sketches.py::quantile: if least is None or greatest is None:  =>  if ((greatest is None)):": (
        "a group has both or neither; the types need it said"
    ),
    "consumer/core/sketches.py::quantile: if least is None or greatest is None:  =>  if ((least is None)):": (
        "a group has both or neither; the types need it said"
    ),
    "consumer/core/sketches.py::_middle: "
    "return ldexp(low, shift) if shift <= 0 else ((2 * low + 1 << shift) - 1) / 2  =>  "
    "return ldexp(low, shift) if shift < 0 else ((2 * low + 1 << shift) - 1) / 2": ("at 0 both say the same"),
    "consumer/core/calendar.py::LocalCalendar.bounds: while self._edge_ms(number) > time_ms:  =>  "
    "while self._edge_ms(number) >= time_ms:": ("the next loop goes one on again"),
    "consumer/core/calendar.py::LocalCalendar.bounds: number -= 1  =>  number -= 2": (
        "the next loop goes on again as far as need be"
    ),
    "consumer/core/calendar.py::LocalCalendar._change_ms: "
    "if self._reading_ms(middle_ms) < reading_ms:  =>  if self._reading_ms(middle_ms) <= reading_ms:": (
        "the clock never shows a reading that is skipped"
    ),
    "consumer/core/loop_code.py::LoopCode._sliding: "
    'with emit.block(f"if not start{number}_ms <= time_ms < end{number}_ms:"):  =>  '
    'with emit.block(f"if not start{number}_ms < time_ms < end{number}_ms:"):': (
        "to look for a pane again finds the same one"
    ),
    "consumer/core/loop_code.py::LoopCode._tumbling: "
    'with emit.block(f"if not {start} <= time_ms < {end}:"):  =>  '
    'with emit.block(f"if not {start} < time_ms < {end}:"):': ("to look for a pane again finds the same one"),
    "consumer/core/loop_code.py::_stays_one: "
    'return f"group.first_ms <= time_ms <= group.last_ms + {kind.gap_ms}{fits}"  =>  '
    'return f"group.first_ms < time_ms <= group.last_ms + {kind.gap_ms}{fits}"': (
        "whoever looks at all groups of the key finds the same one"
    ),
    "consumer/core/loop_code.py::_stays_one: "
    'return f"group.first_ms <= time_ms <= group.last_ms + {kind.gap_ms}{fits}"  =>  '
    'return f"group.first_ms <= time_ms < group.last_ms + {kind.gap_ms}{fits}"': (
        "whoever looks at all groups of the key finds the same one"
    ),
    "consumer/core/loop_code.py::LoopCode._leader: "
    "while number > 0 and span is not None and self._span(number - 1) == span:  =>  "
    "while number > 0 and span is None and self._span(number - 1) == span:": (
        "neighbours that share no look find the same panes"
    ),
    "consumer/core/loop_code.py::LoopCode._used_names: "
    'return names | {pipeline.events.time or "", (pipeline.source.partition_key or "") if '
    'self._aligned else ""}  =>  '
    'return names | {pipeline.events.time or "", (((pipeline.source.partition_key))) if '
    'self._aligned else ""}': ("a pipeline with aligned windows has a partition key; the types need it said"),
    "consumer/core/keyed.py::KeyedWindows._note: self._noted += 1  =>  self._noted -= 1": (
        "any number will do that no other entry has"
    ),
    "consumer/core/keyed.py::KeyedWindows._open: group.pending = True  =>  group.pending = False": (
        "whoever adds the event says that the group is pending"
    ),
    "consumer/core/expiry.py::Expiry.__init__: self._width_ms = max(1, span_ms // _BUCKETS_A_SPAN)"
    "  =>  self._width_ms = max(1, span_ms * _BUCKETS_A_SPAN)": (
        "how wide a bucket is decides how long things take, and nothing else"
    ),
    "consumer/core/loop_state.py::Core.__init__: self.counts = Counts()  =>  pass": (
        "every step begins with counts of its own"
    ),
    "consumer/core/accumulators.py::Accumulators._top: "
    'value = "value + 0.0" if aggregate.type is Type.FLOAT else text_of("value", '
    "aggregate.type, nullable=False)  =>  "
    'value = "value + 0.0" if aggregate.type is Type.FLOAT else text_of("value", '
    "aggregate.type, nullable=True)": ("a value that was counted is never null"),
    "consumer/core/accumulators_slots.py::MinBy.attributes: "
    'ordinal = {f"{self.name}_ordinal": "0"} if self.merges else {}  =>  '
    'ordinal = {f"{self.name}_ordinal": "1"} if self.merges else {}': ("the first value that is kept replaces it"),
    "consumer/core/accumulators_many.py::Collected.add: "
    'with emit.block(f"if len(times_ms) < {self.rows} or time_ms < times_ms[-1]:"):  =>  '
    'with emit.block(f"if len(times_ms) <= {self.rows} or time_ms < times_ms[-1]:"):': (
        "what is put behind the last one is cut off again"
    ),
    "consumer/core/accumulators_many.py::Collected.add: "
    'with emit.block(f"if len(times_ms) < {self.rows} or time_ms < times_ms[-1]:"):  =>  '
    'with emit.block(f"if len(times_ms) < {self.rows} or time_ms <= times_ms[-1]:"):': (
        "what is put behind the last one is cut off again"
    ),
    "consumer/core/accumulators_many.py::Collected.merge: "
    "with emit.block(f\"if {self._of('later')[0]}:\"):  =>  "
    "with emit.block(f\"if {self._of('later')[1]}:\"):": ("all lists of a group are as long as each other"),
    "consumer/core/parts.py::Parts.__init__: self._added = 0  =>  self._added = 1": (
        "any number will do that no other entry has"
    ),
    "consumer/core/parts.py::Parts._keep: self._added += 1  =>  self._added -= 1": (
        "any number will do that no other entry has"
    ),
    "consumer/core/parts.py::Parts._keep: self._added += 1  =>  self._added += 2": (
        "any number will do that no other entry has"
    ),
    "consumer/core/panes.py::TumblingWindows._turn_ms: "
    "if emit_ms <= watermark_ms and self._keep.updates and all(map(self._was_emitted, "
    "pane.clean.values())):  =>  "
    "if ((emit_ms <= watermark_ms) and (all(map(self._was_emitted, pane.clean.values())))):": (
        "without updates rows are due when the window is dropped"
    ),
    "consumer/core/sliding.py::SlidingWindows.settle: "
    "emitted = emit_ms <= watermark_ms and self._keep.updates and all(self._open[start_ms].values())"
    "  =>  emitted = ((emit_ms <= watermark_ms) and (all(self._open[start_ms].values())))": (
        "without updates rows are due when the window is dropped"
    ),
    'consumer/core/decode_json.py::_may_be_deep: if data.find(b"{", 1) < 0 and b"[" not in data:'
    '  =>  if data.find(b"{", 2) < 0 and b"[" not in data:': ("no document has a second brace right behind its first"),
    'consumer/core/decode_json.py::_may_be_deep: if data.find(b"{", 1) < 0 and b"[" not in data:'
    '  =>  if data.find(b"{", 1) <= 0 and b"[" not in data:': ("it is never found at 0"),
    'consumer/core/decode_json.py::_may_be_deep: if data.find(b"{", 1) < 0 and b"[" not in data:'
    '  =>  if data.find(b"{", 1) < 1 and b"[" not in data:': ("it is never found at 0"),
    "consumer/core/decode_json.py::plain_reader.are_plain: "
    'if longest <= plain_bytes and (longest <= _SHALLOW_BYTES or b"[" not in text):  =>  '
    'if longest <= plain_bytes and (longest < _SHALLOW_BYTES or b"[" not in text):': (
        "either reader reads what is so short"
    ),
    "consumer/core/decode_json.py::plain_reader.are_plain: longest = max(map(len, datas), default=0)"
    "  =>  longest = max(map(len, datas), default=1)": ("where there is no record there is nothing to read"),
    "consumer/core/decode_msgpack.py::_may_be_deep: "
    "return len(data) > DEPTH_MAX and len(data) - len(data.translate(None, _CONTAINERS)) > DEPTH_MAX"
    "  =>  return len(data) > DEPTH_MAX and len(data) + len(data.translate(None, _CONTAINERS)) > "
    "DEPTH_MAX": ("what may be deep is looked at more closely, and what is not is not refused"),
    "consumer/core/resharding.py::Routing.belongs: if len(self.known) >= _ROUTED_MAX:  =>  "
    "if len(self.known) > _ROUTED_MAX:": (
        "how many answers are remembered decides how long things take, and nothing else"
    ),
    "consumer/core/compile.py::_execute: "
    "linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)"
    "  =>  linecache.cache[filename] = (len(source), None, source.splitlines(keepends=False), "
    "filename)": ("a traceback strips the line"),
    "consumer/runtime/commit.py::ShardOwner.__init__: self._tidying = Tidying(around, shard, ())  =>  pass": (
        "INIT makes another one before anything is tidied up"
    ),
    "consumer/core/sliding.py::SlidingWindows.bounds: "
    "return PaneBounds(start_ms, start_ms + self._grid.pane_ms, self._drop_ms(starts[0]), "
    "self._drop_ms(starts[-1]))  =>  "
    "return PaneBounds(start_ms, start_ms - self._grid.pane_ms, self._drop_ms(starts[0]), "
    "self._drop_ms(starts[-1]))": ("to look for a pane again finds the same one"),
    "consumer/core/decode_json.py::_may_be_deep: "
    'return data.count(b"[") + data.count(b"{") > DEPTH_MAX  =>  '
    'return data.count(b"[") + data.count(b"{") >= DEPTH_MAX': (
        "what may be deep is looked at more closely, and what is not is not refused"
    ),
    "consumer/core/times.py::epoch_ms_source: "
    'return variable + (f" * {factor}" if factor != 1 else "") + (f" // {divisor}" if divisor '
    '!= 1 else "")  =>  '
    'return variable + (f" * {factor}" if factor != 2 else "") + (f" // {divisor}" if divisor '
    '!= 1 else "")': ("no unit has the factor 2, and to multiply by 1 changes nothing"),
    "consumer/core/loop_code.py::LoopCode._leader: "
    "while number > 0 and span is not None and self._span(number - 1) == span:  =>  "
    "while number > 1 and span is not None and self._span(number - 1) == span:": (
        "neighbours that share no look find the same panes"
    ),
    "consumer/core/loop_code.py::LoopCode._used_names: "
    'return names | {pipeline.events.time or "", (pipeline.source.partition_key or "") if '
    'self._aligned else ""}  =>  '
    'return names | {((pipeline.events.time)), (pipeline.source.partition_key or "") if '
    'self._aligned else ""}': ("no field is called None; the types need it said"),
    "consumer/core/loop_state.py::Core.begin_step: self._out_of_order = False  =>  pass": (
        "to order what is in order changes nothing"
    ),
    "consumer/core/times.py::TimeReader.__call__: _remember(self._minutes_ms, text[:17], minute_ms)"
    "  =>  _remember(self._minutes_ms, text[:18], minute_ms)": ("what is not remembered is worked out anew"),
}
"""Name of the mutant to why it is alike."""
