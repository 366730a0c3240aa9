"""Pictures of the status page for docs/images: `python -m tests.screenshots`, which is `make screenshots`.

A real worker on an embedded AWS, under load, at a bad moment; and another one that is starting. Takes some two minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consumer.emulator.faults import Fault
from consumer.emulator.server import Emulator
from consumer.entrypoints.demo.clickstream import Scenario
from consumer.entrypoints.demo.processes import Child, wait_until
from consumer.entrypoints.demo.producer import Producer
from consumer.runtime import clock
from tests.docs.pages import DOCS
from tests.end_to_end.rig import Rig
from tests.screenshots.chromium import Chromium, find_chromium

IMAGES = DOCS / "images"
EVENTS_A_SECOND = 400
LOAD_SECONDS = 100
BEFORE_SECONDS = 75
"""Windows of a minute close, and a rate a minute is one, before anything goes wrong."""
DISORDER_MS = 9_000
SECONDS_MAX = 180.0
DESKTOP, PHONE = 1280, 390
DARK_HEIGHT = 1000
PHONE_HEIGHT = 1500


def main() -> None:
    """Take all pictures."""
    find_chromium()
    with tempfile.TemporaryDirectory() as place, Emulator() as emulator:
        directory = Path(place)
        rig = Rig(emulator, directory, shards=3)
        try:
            with Chromium(directory) as browser:
                _take(rig, browser)
        finally:
            rig.close()


def _take(rig: Rig, browser: Chromium) -> None:
    worker = rig.start()
    _wait_for(rig, worker, lambda status: any(step["step"] == "initialise_daemon" for step in status["start"]))
    _save("-starting", browser.picture(_url(rig), width=DESKTOP, scale=1, scheme="light"))
    _wait_for(
        rig, worker, lambda status: len(status["shards"]) == 3 and all(each["epoch"] for each in status["shards"])
    )
    load = threading.Thread(target=_produce, args=(rig,), daemon=True)
    load.start()
    clock.sleep(BEFORE_SECONDS)
    rig.emulator.faults.add(Fault(service="dynamodb", kind="throttle", operation="TransactWriteItems", times=12))
    rig.emulator.faults.add(
        Fault(service="dynamodb", kind="throttle", operation="UpdateItem", match="streamgauge", times=12)
    )
    rig.emulator.faults.add(Fault(service="firehose", kind="throttle", match="aggregates"))
    _wait_for(rig, worker, _is_bad)
    _save("", browser.picture(_url(rig), width=DESKTOP, scale=1, scheme="light"))
    _save("-dark", browser.picture(_url(rig), width=DESKTOP, scale=1, scheme="dark", height=DARK_HEIGHT))
    _save("-phone", browser.picture(_url(rig), width=PHONE, scale=2, scheme="light", mobile=True, height=PHONE_HEIGHT))
    rig.emulator.faults.clear()
    load.join()
    rig.stop(worker)


def _produce(rig: Rig) -> None:
    span_ms = LOAD_SECONDS * 1000
    scenario = Scenario(EVENTS_A_SECOND * LOAD_SECONDS, clock.now_ms(), span_ms, DISORDER_MS, 7)
    producer = Producer(rig.emulator.client("kinesis"), rig.pipeline.source.stream, rate=EVENTS_A_SECOND)
    producer.send(scenario.messages(), lambda _: None)


def _is_bad(status: dict[str, Any]) -> bool:
    kinds = {each["kind"] for each in status["attention"]}
    failing = [sink["failing_for_seconds"] or 0 for sink in status["sinks"]]
    return (
        {"sink_failing", "dead_letters"} <= kinds
        and max(failing, default=0) > 10
        and status["commits"]["numbers"]["retry"] > 0
    )


def _wait_for(rig: Rig, worker: Child, condition: Callable[[dict[str, Any]], bool]) -> None:
    def holds() -> bool:
        try:
            return condition(json.loads(rig.get("/status")))
        except OSError:
            return False  # it does not listen yet

    wait_until(holds, "the moment for a picture", seconds_max=SECONDS_MAX, alive=[worker])


def _url(rig: Rig) -> str:
    return f"http://127.0.0.1:{rig.port}/?refresh=off"


def _save(name: str, picture: bytes) -> None:
    path = IMAGES / f"status-page{name}.png"
    path.write_bytes(picture)
    sys.stdout.write(f"{path.relative_to(DOCS.parent)}: {len(picture):,} bytes\n")


if __name__ == "__main__":
    main()
