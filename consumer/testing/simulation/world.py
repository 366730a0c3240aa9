"""One run: the workers, what they share, and the troubles that come to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast
from zlib import crc32

from consumer.errors import FencedError, RetryableError
from consumer.records import DEAD_LETTER, LATE, HashRange
from consumer.runtime.shard import ShardRunner
from consumer.runtime.surroundings import ShardOrigin, Surroundings
from consumer.sinks.base import Router
from consumer.state.base import Application
from consumer.state.memory import Memory, MemoryStore
from consumer.telemetry.events import Telemetry
from consumer.testing.simulation.combined import lowest_ms
from consumer.testing.simulation.kcl import FAILOVER_SECONDS, Conversation, Library
from consumer.testing.simulation.leases import TRIM_HORIZON, LeaseTable
from consumer.testing.simulation.oracle import Oracle
from consumer.testing.simulation.pipelines import program
from consumer.testing.simulation.plan import EVENTS, RATES, Fault, Plan, seeded
from consumer.testing.simulation.recount import Recount
from consumer.testing.simulation.scheduler import Scheduler
from consumer.testing.simulation.sinks import SimulatedSink
from consumer.testing.simulation.stores import SimulatedStore
from consumer.testing.simulation.stream import STARTED_MS, Stream
from consumer.testing.simulation.worker import Told, Worker, describe

DRAIN_SECONDS = 240.0
"""How long after the last trouble everything must be done: a pause, then three fail-over times of a twin's silence."""
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 1.0

Tell = Callable[[str], None]


class World:
    """Everything that survives a process, and the processes. `tell` hears of each step."""

    def __init__(self, plan: Plan, tell: Tell | None = None) -> None:
        self.plan = plan
        self.program = program(plan.pipeline)
        self.random = seeded(f"run {plan.seed} {plan.salt}")
        self.scheduler = Scheduler()
        self.stream = Stream(plan.load, seeded(f"stream {plan.seed}"))
        self.table = LeaseTable()
        self.memory_store = MemoryStore(Memory())
        self.counts: Counter[str] = Counter()
        self.oracle = Oracle(self)
        self.application = Application(0, STARTED_MS, self.stream.roots, self.program.definitions, STARTED_MS)
        self.trace_hash = 0
        self.settled_ms: int | None = None
        """Up to which watermark all global windows were combined when the workers were told to stop."""
        self._tell = tell
        self._rates = {fault: RATES[fault] * strength for fault, strength in plan.strength.items() if fault in RATES}
        self._strike_rate = sum(self._rates.get(fault, 0) for fault in (Fault.CRASH, Fault.PAUSE, Fault.JVM_PAUSE))
        self._down: list[tuple[str, float, float]] = []
        self._workers: list[Worker] = []
        self._libraries: dict[str, Library] = {}
        self._started = 0
        self._stopping_since: float | None = None
        self._finished = False

    # The run

    def run(self) -> None:
        """Run to the end, and check everything; AssertionError if something does not hold."""
        self.memory_store.create_application(self.application)
        for shard in self.stream.roots:
            self.table.create(shard, ())
        for slot in range(self.plan.workers):
            self.scheduler.at(self.random.uniform(0, 3), partial(self._start, slot, f"worker-{slot}"))
        self._order_events()
        self.scheduler.at(self.plan.load.seconds, self._rates.clear)
        self.scheduler.at(self.plan.load.seconds, self._look)
        try:
            self.scheduler.run(lambda: self._finished)
        finally:
            self.scheduler.close()
        Recount(self).check()
        self.counts["records"] += sum(len(shard.records) for shard in self.stream.shards.values())
        self.counts["splits"] += self.stream.splits
        self.counts["merges"] += self.stream.merges

    def _look(self) -> None:
        """Look whether all is done; then stop the workers, and end when they have."""
        now = self.scheduler.now
        if self._stopping_since is not None:
            if not any(worker.alive for worker in self._workers):
                self._finished = True
                return
            assert now - self._stopping_since < _STOP_SECONDS, "the workers do not stop"
        else:
            left = self.oracle.what_is_left()
            assert not left or now < self.plan.load.seconds + DRAIN_SECONDS, f"I8: {'; '.join(left)}"
            if not left:
                self._stopping_since = now
                self.settled_ms = lowest_ms(self.oracle.states)
                for worker in self._workers:
                    self.stop(worker)
        self.scheduler.after(_LOOK_SECONDS, self._look)

    # What all parts ask for

    def chance(self, fault: Fault) -> bool:
        """Tell whether a trouble comes now."""
        rate = self._rates.get(fault)
        if rate is None or self.random.random() >= rate:
            return False
        self.counts[f"fault {fault}"] += 1
        return True

    def note(self, worker: Worker | None, text: str) -> None:
        """Tell whoever traces the run."""
        if self._tell is not None:
            line = f"{self.scheduler.now:10.4f} {'' if worker is None else worker.name:12} {text}"
            self.trace_hash = crc32(line.encode(), self.trace_hash)
            self._tell(line)

    def step(self, worker: Worker, name: str, seconds: float) -> None:
        """Let a task of a worker give way before or after something that leaves the process; trouble may come."""
        self.note(worker, name)
        if self._rates and self.random.random() < self._strike_rate:
            self._strike(worker, name)
        self.scheduler.sleep(seconds)

    def sink_is_down(self, name: str) -> bool:
        """Tell whether a sink takes nothing now."""
        now = self.scheduler.now
        return any(name == down and since <= now < until for down, since, until in self._down)

    def routes(self) -> Mapping[str, frozenset[str]]:
        """Return which outputs go to which sink."""
        windows = [window.name for window in self.program.pipeline.windows]
        return {"all": frozenset([*windows, LATE, DEAD_LETTER]), "some": frozenset([windows[0], LATE])}

    # Workers

    def _start(self, slot: int, identifier: str) -> None:
        if self._stopping_since is not None:
            return
        self._started += 1
        worker = Worker(self, slot, f"{identifier}#{self._started}", identifier)
        self._workers.append(worker)
        library = self._libraries[worker.name] = Library(self, worker)
        self.note(worker, "starts")
        library.start()

    def _strike(self, worker: Worker, name: str) -> None:
        """Kill a worker, or stop it for a while, in the midst of something."""
        random = self.random
        kinds = [kind for kind in (Fault.CRASH, Fault.PAUSE, Fault.JVM_PAUSE) if kind in self._rates]
        kind = random.choices(kinds, [self._rates[kind] for kind in kinds])[0]
        self.counts[f"fault {kind}"] += 1
        self.note(worker, f"{kind} at {name}")
        if kind is Fault.CRASH:
            self.kill(worker)
        else:
            until = self.scheduler.now + random.choice((1.0, 12.0, 25.0, 40.0)) * random.uniform(0.5, 1)
            if kind is Fault.PAUSE:
                worker.paused_until = until
            else:
                worker.jvm_paused_until = until

    def kill(self, worker: Worker) -> None:
        """End a process at once; another one comes in its place."""
        if not worker.alive:
            return
        worker.alive = False
        self.note(worker, "is dead")
        if worker.slot >= 0 and self._stopping_since is None:
            identifier = worker.identifier
            if self.chance(Fault.RENAME):
                identifier = f"worker-{worker.slot}-{self._started}"
            self.scheduler.after(self.random.uniform(0.5, 15), partial(self._start, worker.slot, identifier))

    def stop(self, worker: Worker) -> None:
        """Ask a worker to stop, as by SIGTERM."""
        if not worker.alive or worker.stopping:
            return
        worker.stopping = True
        grace = 45.0 if self._stopping_since is not None else self.random.uniform(5, 45)
        worker.stop_deadline = self.scheduler.now + grace
        self.note(worker, "is told to stop")
        self._await_stop(worker)

    def _await_stop(self, worker: Worker) -> None:
        if self._libraries[worker.name].idle or self.scheduler.now > worker.stop_deadline + 10:
            self.kill(worker)
        elif worker.alive:
            self.scheduler.after(0.5, partial(self._await_stop, worker))

    def run_shard(self, worker: Worker, conversation: Conversation, done: Callable[[], None]) -> None:
        """Let a runner of the product serve a lease, in a task of the worker."""
        around = self._surroundings(worker)

        def body() -> None:
            runner = ShardRunner(around, failover_seconds=FAILOVER_SECONDS, pace=worker.pace)
            try:
                runner.serve(conversation)
            except (FencedError, RetryableError) as error:
                self.counts[f"processes ended by {type(error).__name__}"] += 1
                self.note(worker, f"ends: {describe(error)}")
                self.kill(worker)
            done()

        self.scheduler.spawn(worker, body)

    def _surroundings(self, worker: Worker) -> Surroundings:
        sinks = {name: SimulatedSink(self, worker, name) for name in self.routes()}
        outputs = [window.name for window in self.program.pipeline.windows] + [LATE, DEAD_LETTER]

        def in_background(task: Callable[[], None]) -> None:
            self.scheduler.spawn(worker, task)

        return Surroundings(
            program=self.program,
            application=self.application,
            store=SimulatedStore(self, worker),
            router=Router(
                {output: [sinks[name] for name, of in self.routes().items() if output in of] for output in outputs}
            ),
            lineage=self,
            telemetry=cast("Telemetry", Told(self, worker)),
            clock=worker.clock,
            pause=worker.pause,
            in_background=in_background,
            view=worker.view,
        )

    def refused(self, worker: Worker, shard: str, error: BaseException) -> None:
        """Judge a refusal: only lost lease rows may lead to one. Somebody starts the worker again."""
        self.note(worker, f"refuses {shard}: {error}")
        assert self.counts[f"fault {Fault.LOST_ROW}"] or self.counts[f"fault {Fault.REWIND}"], f"refused: {error}"
        self.counts["refusals"] += 1
        for conversation in self._libraries[worker.name].conversations.values():
            if conversation.shard == shard:
                conversation.refused = True
        self.scheduler.after(self.random.uniform(5, 15), partial(self.kill, worker))

    def wedged(self, shard: str, *, refused: bool) -> None:
        """Judge the end of a shard that was answered without its checkpoint, by a worker that keeps the lease.

        One that stops, and whose grace is over while a sink is down, is gone in a moment, and its lease runs out.
        """
        worker = self.scheduler.current.process
        assert isinstance(worker, Worker)
        if worker.grace_is_over:
            self.counts["ends left to the next worker"] += 1
            return
        assert refused, f"the end of {shard} was not checkpointed"
        self.counts["ends of refused shards"] += 1

    # The stream's shards

    def origin(self, shard: str, /) -> ShardOrigin:
        """Return a shard's hash range and parents."""
        found = self.stream.shards[shard]
        return ShardOrigin(found.hash_range, found.parents)

    def children(self, parent: str, /) -> Mapping[str, HashRange]:
        """Return what a shard was split or merged into until now."""
        shards, now = self.stream.shards, self.scheduler.now
        return {child: shards[child].hash_range for child in shards[parent].children if shards[child].opened_at <= now}

    def may_end(self, shard: str) -> bool:
        """Tell whether the end of a shard may be told: not before the shard that it merges with has a lease."""
        children = self.stream.shards[shard].children
        return all(parent in self.table.known for child in children for parent in self.stream.shards[child].parents)

    def begin_children(self, shard: str) -> None:
        """Make lease rows for the children of a shard whose end was reached, before it is told."""
        for child in self.stream.shards[shard].children:
            self.table.create(child, self.stream.shards[child].parents)

    def sync_shards(self) -> None:
        """Tidy the table up: the row of a shard that ended goes when all its children have gone on."""
        rows = self.table.rows
        for shard in self.stream.shards.values():
            row = rows.get(shard.id)
            if row is not None and row.ended:
                children = [rows.get(child) for child in shard.children]
                if all(child is not None and child.checkpoint != TRIM_HORIZON for child in children):
                    del rows[shard.id]

    # Events

    def _order_events(self) -> None:
        orders: dict[Fault, Callable[[], None]] = {
            Fault.STOP: self._stop_one,
            Fault.TWIN: self._begin_twin,
            Fault.SINK_DOWN: self._take_sink_down,
            Fault.GHOST: self._haunt,
            Fault.REWIND: self._rewind,
            Fault.LOST_ROW: self._lose_row,
            Fault.CLOCK: self._set_clock,
        }
        for fault, order in orders.items():
            strength = self.plan.strength.get(fault, 0)
            for _ in range(round(EVENTS[fault] * strength)):
                self.scheduler.at(self.random.uniform(5, self.plan.load.seconds), partial(self._come, fault, order))

    def _come(self, fault: Fault, order: Callable[[], None]) -> None:
        self.counts[f"fault {fault}"] += 1
        order()

    def _any_worker(self) -> Worker | None:
        alive = [worker for worker in self._workers if worker.alive]
        return self.random.choice(alive) if alive else None

    def _stop_one(self) -> None:
        worker = self._any_worker()
        if worker is not None:
            self.stop(worker)

    def _begin_twin(self) -> None:
        worker = self._any_worker()
        if worker is not None:
            self._start(-1, worker.identifier)
            self.scheduler.after(self.random.uniform(20, 60), partial(self.kill, self._workers[-1]))

    def _take_sink_down(self) -> None:
        now = self.scheduler.now
        self._down.append((self.random.choice(list(self.routes())), now, now + self.random.uniform(3, 60)))

    def _haunt(self) -> None:
        worker = self._any_worker()
        rows = [row for row in self.table.rows.values() if self.table.parents_have_ended(row)]
        if worker is not None and rows:
            self._libraries[worker.name].haunt(self.random.choice(rows))

    def _rewind(self) -> None:
        for row in self.table.rows.values():
            if row.history and self.random.random() < 0.5:  # noqa: PLR2004 - not all of them
                row.checkpoint = self.random.choice(row.history[-5:])
                row.counter = max(0, row.counter - self.random.randint(0, 3))
        self.note(None, "the lease table is rewound")

    def _lose_row(self) -> None:
        shard = self.random.choice(list(self.table.rows))
        del self.table.rows[shard]
        self.note(None, f"the lease of {shard} is lost")
        found = self.stream.shards[shard]
        if found.closed_at is not None and found.closed_at <= self.scheduler.now:
            self.begin_children(shard)  # the library fills the hole in the hash keys with what is open
        # Somebody gives it back.
        parents = found.parents
        self.scheduler.after(self.random.uniform(3, 20), partial(self.table.create, shard, parents))

    def _set_clock(self) -> None:
        worker = self._any_worker()
        if worker is not None:
            worker.clock.ahead_ms += round(self.random.choice((1, -1)) * self.random.choice((1_000, 8_000, 30_000)))
