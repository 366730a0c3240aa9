"""Stands in for Java in the supervisor's tests: started with Java's arguments, it does what FAKE_DAEMON says.

FAKE_DAEMON is a JSON object: `log` is a list of (level, logger, message) to write first; then, if `serve` is set,
one relay is started and initialised; then it `exit`s with a status, or waits for SIGTERM, which it obeys by ending
the shard, unless told to be `stubborn`. With `linger` it then stays until it is killed; with `late` it starts another
relay after SIGTERM and before it ends the shard, and wants it initialised when the shard has ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

plan = json.loads(os.environ["FAKE_DAEMON"])


def log(level: str, logger: str, message: str) -> None:
    line = {"level": level, "loggerName": logger, "message": message, "arguments": None, "throwable": None}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def start_relay() -> subprocess.Popen[bytes]:
    properties = Path(sys.argv[sys.argv.index("--properties-file") + 1]).read_text(encoding="ascii")
    settings = dict(line.split("=", 1) for line in properties.splitlines())
    command = settings["executableName"].replace("\\ ", " ").split(" ")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def tell(relay: subprocess.Popen[bytes], message: str) -> None:
    assert relay.stdin
    assert relay.stdout
    relay.stdin.write(message.encode() + b"\n")
    relay.stdin.flush()
    answer = relay.stdout.readline()
    if not answer:
        log("ERROR", "fake", "the child closed its output")
        sys.exit(1)


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
log("WARN", "fake", "ready")
for entry in plan.get("log", []):
    log(*entry)
relay = start_relay() if plan.get("serve") else None
if relay:
    tell(relay, "initialize")
    for message in plan.get("messages", []):
        tell(relay, message)
if "exit" in plan:
    os._exit(plan["exit"])
if "kill" in plan:
    os.kill(os.getpid(), plan["kill"])
signal.sigwait({signal.SIGTERM})
log("WARN", "fake", "asked to stop")
if plan.get("stubborn"):
    signal.sigwait({signal.SIGUSR1})
late = start_relay() if plan.get("late") else None
if late:
    assert late.stdin
    late.stdin.write(b"initialize again\n")
    late.stdin.flush()
if relay:
    tell(relay, "shutdownRequested")
    relay.communicate()
if late or plan.get("linger"):
    signal.sigwait({signal.SIGUSR1})
os._exit(143)
