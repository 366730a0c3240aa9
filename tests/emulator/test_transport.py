"""The port itself: HTTP/1.1 and HTTP/2, large and small, whole and broken."""

from __future__ import annotations

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cbor2
import pytest

from consumer.emulator.faults import Fault
from consumer.emulator.limits import MIB
from consumer.emulator.server import Emulator
from consumer.emulator.streams import PutEntry
from consumer.emulator.transport import _listener
from consumer.emulator.wire import CBOR_TYPE
from tests.emulator.h2_client import H2Client
from tests.emulator.kinesis_reader import FIRST
from tests.emulator.raw_http import connect, exchange, kinesis_request

BODY_OF_NO_CALL = b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\0\0\0\0\0\5abcd"  # settings, then data of stream 5
LIST = b'{"Limit": 1}'


def list_streams(*headers: str) -> bytes:
    return kinesis_request("ListStreams", LIST, f"Content-Length: {len(LIST)}", *headers)


def status_lines(answer: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 \d\d\d [A-Za-z ]+", answer)


def read_cbor(client: H2Client, stream: str) -> tuple[int, bytes]:
    where = {"StreamName": stream, "ShardId": FIRST, "ShardIteratorType": "TRIM_HORIZON"}
    found = client.call("Kinesis_20131202.GetShardIterator", cbor2.dumps(where), CBOR_TYPE)
    answer = client.call("Kinesis_20131202.GetRecords", found.body, CBOR_TYPE)
    return answer.status, answer.body


def test_several_calls_on_one_connection_by_http1(aws: Emulator) -> None:
    answer = exchange(aws.endpoint, list_streams() + list_streams() + list_streams("Connection: close"))
    assert status_lines(answer) == [b"HTTP/1.1 200 OK"] * 3


def test_answers_do_not_wait_for_the_client_to_acknowledge() -> None:
    """Without this protocol number asyncio leaves Nagle's algorithm on: 40 ms a call."""
    with _listener("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_chunked_request(aws: Emulator) -> None:
    body = b"5\r\n" + LIST[:5] + b"\r\n" + b"%x\r\n" % len(LIST[5:]) + LIST[5:] + b"\r\n0\r\n\r\n"
    request = kinesis_request("ListStreams", body, "Transfer-Encoding: chunked", "Connection: close")
    assert status_lines(exchange(aws.endpoint, request)) == [b"HTTP/1.1 200 OK"]


def test_a_client_that_waits_to_be_asked_on(aws: Emulator) -> None:
    head = list_streams("Expect: 100-continue", "Connection: close")[: -len(LIST)]
    with connect(aws.endpoint) as connection:
        connection.sendall(head)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(LIST)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_request_in_single_bytes(aws: Emulator) -> None:
    with connect(aws.endpoint) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in list_streams():
            connection.sendall(bytes([byte]))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("nonsense", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"PRI nothing\r\n\r\n"])
def test_nonsense_is_told_off_and_the_connection_closed(aws: Emulator, nonsense: bytes) -> None:
    assert status_lines(exchange(aws.endpoint, nonsense + b"\r\n\r\n"))[0].startswith(b"HTTP/1.1 4")


def test_broken_http2_closes_the_connection_only(aws: Emulator) -> None:
    answer = exchange(aws.endpoint, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + BODY_OF_NO_CALL)
    assert b"\7\0\0\0\0\0" in answer  # GOAWAY
    with H2Client(aws.endpoint) as client:
        assert client.call("Kinesis_20131202.ListStreams", b"{}", "application/x-amz-json-1.1").status == 200


def test_a_large_answer_comes_whole_by_http2(aws: Emulator, name: str) -> None:
    aws.kinesis.create_stream(name, 1)
    data = [bytes([number]) * MIB for number in range(10)]
    aws.kinesis.put(name, [PutEntry(one, "k") for one in data])
    with H2Client(aws.endpoint) as client:
        for _ in range(2):
            _, body = read_cbor(client, name)
            decoded = cbor2.loads(body, semantic_decoders={1: lambda value, _immutable: value})
            assert [record["Data"] for record in decoded["Records"]] == data


def test_many_readers_by_http2_at_once(aws: Emulator, name: str) -> None:
    aws.kinesis.create_stream(name, 1)
    aws.kinesis.put(name, [PutEntry(bytes(100_000), "k")] * 20)

    def read(_: int) -> int:
        with H2Client(aws.endpoint) as client:
            return sum(len(read_cbor(client, name)[1]) for _ in range(3))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(read, range(8)))) == 1


def test_other_services_by_http2(aws: Emulator, bucket: str) -> None:
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}
    with H2Client(aws.endpoint) as client:
        assert client.request("PUT", f"/{bucket}/a%20b", signed, b"content").status == 200
        assert client.request("GET", f"/{bucket}/a%20b", signed).body == b"content"
        head = client.request("HEAD", f"/{bucket}/a%20b", signed)
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "7")
        assert client.request("DELETE", f"/{bucket}/a%20b", signed).status == 204
        assert client.request("GET", "/_streamgauge/health", {}).status == 200


def test_a_cut_answer_by_http2_resets_its_stream_only(aws: Emulator, stream: str) -> None:
    aws.faults.add(Fault(service="kinesis", operation="GetRecords", kind="cut", times=1))
    with H2Client(aws.endpoint) as client:
        with pytest.raises(ConnectionError, match="reset"):
            read_cbor(client, stream)
        assert read_cbor(client, stream)[0] == 200


def test_a_dropped_call_by_http2_resets_its_stream_only(aws: Emulator, stream: str) -> None:
    aws.faults.add(Fault(service="kinesis", operation="GetRecords", kind="drop_before", times=1))
    with H2Client(aws.endpoint) as client:
        with pytest.raises(ConnectionError, match="reset"):
            read_cbor(client, stream)
        assert read_cbor(client, stream)[0] == 200


def test_a_cut_answer_by_http1_promises_more_than_comes(aws: Emulator, stream: str) -> None:
    aws.faults.add(Fault(service="kinesis", operation="DescribeStream", kind="cut", times=1))
    body = json.dumps({"StreamName": stream}).encode()
    request = kinesis_request("DescribeStream", body, f"Content-Length: {len(body)}")
    head, _, rest = exchange(aws.endpoint, request).partition(b"\r\n\r\n")
    promised = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    assert len(rest) == promised // 2


def test_a_client_that_leaves_in_the_middle_harms_nobody(aws: Emulator, kinesis: Any, name: str) -> None:
    aws.kinesis.create_stream(name, 1)
    aws.kinesis.put(name, [PutEntry(bytes(MIB), "k")] * 10)
    for _ in range(3):
        with H2Client(aws.endpoint) as client:
            client._socket.settimeout(0.01)
            with pytest.raises(TimeoutError):
                [read_cbor(client, name) for _ in range(100)]
    assert kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamName"] == name
