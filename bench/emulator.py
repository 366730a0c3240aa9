"""What the embedded Kinesis costs: its own CPU seconds for a million records put and read, and its memory.

Run as `python -m bench.emulator [RECORDS]`; prints one line a figure, `name value unit`. The emulator runs in a
process of its own. Records have 250 bytes; they are put by PutRecords in JSON over HTTP/1.1, as boto3 does, and read
by GetRecords in CBOR over HTTP/2, as the Kinesis Client Library does.
"""

from __future__ import annotations

import http.client
import random
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import cbor2
import msgspec
import psutil

from tests.emulator.h2_client import H2Client

RECORD_BYTES = 250
SHARDS = 4
BATCH = 500
PARTS = 4
SERVE = (
    "import sys; from consumer.entrypoints.emulator import serve; "
    "sys.exit(serve('127.0.0.1', 0, ready=lambda endpoint: print(endpoint, flush=True)))"
)


@contextmanager
def emulator() -> Iterator[tuple[str, psutil.Process]]:
    """Run the emulator; give its endpoint and its process."""
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.terminate()


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def batches(count: int) -> list[bytes]:
    """Return the bodies of some PutRecords with 500 records each."""
    rng = random.Random(1)
    return [
        msgspec.json.encode(
            {
                "StreamName": "bench",
                "Records": [
                    {"Data": b64encode(rng.randbytes(RECORD_BYTES)).decode(), "PartitionKey": f"user-{rng.random()}"}
                    for _ in range(BATCH)
                ],
            }
        )
        for _ in range(count)
    ]


def put(connection: http.client.HTTPConnection, operation: str, body: bytes) -> None:
    """Do one call over HTTP/1.1."""
    headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    connection.request("POST", "/", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == http.HTTPStatus.OK, text


def read_shard(client: H2Client, shard_id: str) -> int:
    """Read a shard to its end and return the number of records."""

    def call(operation: str, request: dict[str, object]) -> bytes:
        body = cbor2.dumps(request)
        answer = client.call(f"Kinesis_20131202.{operation}", body, "application/x-amz-cbor-1.1")
        assert answer.status == http.HTTPStatus.OK, answer.body
        return answer.body

    where: dict[str, object] = {"StreamName": "bench", "ShardId": shard_id, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = cbor2.loads(call("GetShardIterator", where))["ShardIterator"]
    records = 0
    while True:
        page = cbor2.loads(
            call("GetRecords", {"ShardIterator": iterator, "Limit": 10_000}), semantic_decoders={1: lambda ms, _: ms}
        )
        records += len(page["Records"])
        iterator = page["NextShardIterator"]
        if page["MillisBehindLatest"] == 0:
            return records


def report(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    print(f"emulator_{name} {value:.3f} {unit}")


def main(records: int) -> None:
    """Put, then read, and report."""
    bodies = batches(20)
    with emulator() as (endpoint, process):
        connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
        put(connection, "CreateStream", msgspec.json.encode({"StreamName": "bench", "ShardCount": SHARDS}))
        empty_bytes = process.memory_info().rss
        calls = records // BATCH // PARTS
        for part in range(PARTS):
            before = cpu_s(process)
            for number in range(calls):
                put(connection, "PutRecords", bodies[number % len(bodies)])
            report(f"put_part_{part + 1}", (cpu_s(process) - before) / (calls * BATCH) * 1e6, "cpu_s_per_million")
        connection.close()
        stored = calls * BATCH * PARTS
        report("stored", (process.memory_info().rss - empty_bytes) / stored, "bytes_per_record")
        before = cpu_s(process)
        with H2Client(endpoint) as client:
            found = sum(read_shard(client, f"shardId-{number:012d}") for number in range(SHARDS))
        assert found == stored, (found, stored)
        report("read", (cpu_s(process) - before) / stored * 1e6, "cpu_s_per_million")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
