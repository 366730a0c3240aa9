"""Virtual time and cooperative tasks: what runs next is decided by the clock of the run, and by nothing else.

A task is blocking code in a greenlet. It gives control away only in `sleep`, so all that happens between two sleeps is
one step that nobody sees the middle of. What is due at the same time comes in the order in which it was asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

from greenlet import GreenletExit, getcurrent, greenlet

from consumer.records import Position


class Process(Protocol):
    """What a task runs in: a process that can be killed or stopped for a while."""

    alive: bool
    paused_until: float


class Scheduler:
    """The clock (`now`, in seconds) and what is to come."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._asked = 0
        self.main = getcurrent()
        self._tasks: list[Task] = []
        self._current: Task | None = None
        self._closed = False

    @property
    def current(self) -> Task:
        """Return the task that runs now."""
        assert self._current is not None, "this runs in a task"
        return self._current

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Call at that time; `call` must not sleep."""
        self._asked += 1
        heapq.heappush(self._due, (time, self._asked, call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call after so long."""
        self.at(self.now + seconds, call)

    def spawn(self, process: Process, body: Callable[[], None]) -> Task:
        """Begin a task of a process, now."""
        task = Task(self, process, body)
        self._tasks.append(task)
        self.at(self.now, task.resume)
        return task

    def sleep(self, seconds: float) -> None:
        """Let the task that calls give way for so long; a killed process never returns from it."""
        if self._closed:
            raise GreenletExit
        task = self.current
        self.at(self.now + seconds, task.resume)
        self._current = None
        self.main.switch()
        if self._closed:
            raise GreenletExit

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until `until`, asked after each step, says so. What a task raises is raised here."""
        while self._due and not until():
            time, _, call = heapq.heappop(self._due)
            self.now = max(self.now, time)
            self.steps += 1
            call()

    def close(self) -> None:
        """Unwind all tasks that are left; `sleep` refuses them, so that they reach nothing any more."""
        self._closed = True
        for task in self._tasks:
            task.unwind()
        self._tasks.clear()
        self._due.clear()

    def enter(self, task: Task | None) -> None:
        """Note which task runs."""
        self._current = task


class Task:
    """A greenlet of a process. It runs one lease of a shard.

    `owns` are the shard and the epoch that it claimed, `decisions` the idle decisions since its last commit: after
    which position, and the watermark that came of it.
    """

    def __init__(self, scheduler: Scheduler, process: Process, body: Callable[[], None]) -> None:
        self.process = process
        self.decisions: list[tuple[Position | None, int]] = []
        self.owns: tuple[str, int] | None = None
        self._scheduler = scheduler
        self._greenlet = greenlet(body, parent=scheduler.main)

    def resume(self) -> None:
        """Go on, or later if the process is stopped, or never if it is dead."""
        process = self.process
        if not process.alive:
            return
        if process.paused_until > self._scheduler.now:
            self._scheduler.at(process.paused_until, self.resume)
            return
        self._scheduler.enter(self)
        self._greenlet.switch()
        self._scheduler.enter(None)

    def unwind(self) -> None:
        """End the greenlet wherever it is."""
        if self._greenlet and not self._greenlet.dead:
            self._greenlet.throw()
