"""The life of an emulator: in process, and in the foreground."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from consumer.emulator import transport
from consumer.emulator.faults import Fault
from consumer.emulator.server import Emulator
from consumer.entrypoints.emulator import serve
from consumer.errors import SetupError

SERVE = "import sys; from consumer.entrypoints.emulator import serve; sys.exit(serve('127.0.0.1', 0))"


def test_it_leaves_no_thread_and_no_listener_behind() -> None:
    before = set(threading.enumerate())
    with Emulator() as emulator:
        kinesis = emulator.client("kinesis")
        kinesis.create_stream(StreamName="s", ShardCount=1)
        emulator.client("s3").list_buckets()
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before
    with pytest.raises(EndpointConnectionError):
        emulator.client("kinesis").list_streams()
    for client in emulator._clients:
        client.close()


def test_it_stops_while_a_call_is_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "STOP_GRACE_S", 0.1)
    with Emulator() as emulator:
        emulator.faults.add(Fault(service="kinesis", kind="delay", delay_ms=600_000))
        kinesis = emulator.client("kinesis")
        caught: list[BaseException] = []

        def wait() -> None:
            try:
                kinesis.list_streams()
            except Exception as error:  # noqa: BLE001 - whichever way the call ends
                caught.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not any(active.struck for active in emulator.faults.active()):
            assert waiting.is_alive()
    waiting.join(10)
    assert len(caught) == 1


def test_firehose_buffers_are_written_at_the_end() -> None:
    written: list[bytes] = []
    with Emulator() as emulator:
        emulator.firehose._write_object = lambda _bucket, _key, body: written.append(body)
        where = {"BucketARN": "arn:aws:s3:::b", "RoleARN": "r" * 20}
        firehose = emulator.client("firehose")
        destination = {**where, "RoleARN": "arn:aws:iam::123456789012:role/r"}
        firehose.create_delivery_stream(DeliveryStreamName="d", ExtendedS3DestinationConfiguration=destination)
        firehose.put_record(DeliveryStreamName="d", Record={"Data": b"last"})
    assert written == [b"last"]


def test_a_taken_port_is_an_error_at_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        before = set(threading.enumerate())
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()
        assert set(threading.enumerate()) == before
        with pytest.raises(SetupError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve("127.0.0.1", port)


def test_it_listens_on_the_loopback_address_alone(running: Emulator) -> None:
    assert running.endpoint.startswith("http://127.0.0.1:")
    assert Emulator("0.0.0.0", 80).endpoint == "http://127.0.0.1:80"  # noqa: S104 - never started
    assert Emulator("::1", 80).endpoint == "http://[::1]:80"


def test_two_emulators_have_their_own_streams() -> None:
    with Emulator() as one, Emulator() as other:
        one.kinesis.create_stream("s")
        assert other.client("kinesis").list_streams()["StreamNames"] == []
        assert one.endpoint != other.endpoint


def test_an_environment_that_points_to_itself_confuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with Emulator() as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.endpoint)
        emulator.client("s3").create_bucket(Bucket="bucket-of-env")
        emulator.firehose._write_object("bucket-of-env", "key", b"x")
        found = emulator.client("s3").get_object(Bucket="bucket-of-env", Key="key")
        assert found["Body"].read() == b"x"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_foreground_process_says_what_to_set_and_ends_by_signal(number: signal.Signals) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    command = [sys.executable, "-W", "error", "-c", SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=bare) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        variables: dict[str, str] = dict(word.split("=", 1) for word in line.split(" export ")[1].split())
        settings: dict[str, Any] = {
            "endpoint_url": variables["AWS_ENDPOINT_URL"],
            "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
            "region_name": variables["AWS_DEFAULT_REGION"],
        }
        kinesis = boto3.client("kinesis", **settings)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        s3 = boto3.client("s3", **settings)
        s3.create_bucket(Bucket="some-bucket")
        kinesis.close()
        s3.close()
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=30)
    assert (process.returncode, rest, complaints) == (0, "", "")
