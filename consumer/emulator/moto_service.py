"""DynamoDB, S3, SQS and the rest: moto's server application, one call at a time.

moto's stores are not made for threads: without one lock around the whole application, concurrent conditional writes
lose updates and transactions see each other half done. Its stores belong to the process, so all emulators of a
process share them; the last one to close empties them.
"""

from __future__ import annotations

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, quote
from xml.sax.saxutils import escape

import msgspec

from consumer.emulator import sqs
from consumer.emulator.errors import REGION, AwsError
from consumer.emulator.faults import Strike
from consumer.emulator.http import Answer, Request
from consumer.emulator.service import Call

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

COORDINATE_CHARACTERS_MAX = 200
VALUE_CHARACTERS_MAX = 64
DYNAMODB_ERRORS = "com.amazonaws.dynamodb.v20120810#"

_log = logging.getLogger("streamgauge.emulator")
_lock = Lock()
_users = 0


class Moto:
    """moto behind the lock. `close` must be called once."""

    def __init__(self) -> None:
        global _users  # noqa: PLW0603 - counts who shares moto's stores, which are global themselves
        with _lock:
            self._application = _load()
            _users += 1

    def close(self) -> None:
        """Let go; the last one empties moto's stores."""
        global _users  # noqa: PLW0603 - as in __init__
        with _lock:
            _users -= 1
            if _users == 0:
                _run(self._application, Request("POST", "/moto-api/reset"))

    def perform(self, request: Request) -> Answer:
        """Do one call, alone."""
        with _lock:
            return _run(self._application, request)

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object to S3; OSError if S3 does not take it."""
        path = f"/{bucket}/{key}"
        answer = self.perform(Request("PUT", path, quote(path), headers=_signed_for("s3"), body=body))
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own number
            raise OSError(f"S3 answers {answer.status} to {path}: {answer.body[:300].decode(errors='replace')}")


class MotoService:
    """The front of all services that moto serves; calls run in one worker thread, in order of arrival."""

    def __init__(self, moto: Moto, worker: ThreadPoolExecutor) -> None:
        self._moto = moto
        self._worker = worker

    def prepare(self, request: Request) -> Call:
        """Return the call; everything is understood here, moto judges later."""
        service = service_of(request)
        operation, coordinates = _identify(service, request)
        batch = sqs.batch_of(request) if operation == "SendMessageBatch" else None

        def perform(strike: Strike) -> Answer:
            if batch is None or not strike.failed:
                return self._moto.perform(request)
            return sqs.send_in_part(request, batch, strike, self._moto.perform)

        async def run(strike: Strike) -> Answer:
            return await asyncio.get_running_loop().run_in_executor(self._worker, perform, strike)

        messages = 0 if batch is None else len(batch)
        return Call(service, operation, coordinates[:COORDINATE_CHARACTERS_MAX], run, batch=messages)

    def refuse(self, request: Request, error: AwsError) -> Answer:
        """Return an error as XML, or as JSON to a service that speaks it."""
        if request.header("x-amz-target"):
            body = msgspec.json.encode({"__type": error.code, "message": error.message})
            return Answer(error.status, [("content-type", "application/x-amz-json-1.0")], [body])
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
        )
        return Answer(error.status, [("content-type", "application/xml")], [xml.encode()])

    def throttle(self, call: Call) -> AwsError:
        """Return the error the service throttles with."""
        if call.service == "s3":
            return AwsError("SlowDown", "Please reduce your request rate.", 503)
        if call.service == "sqs":
            return AwsError("RequestThrottled", "Request is throttled.", 403)
        if call.operation in _TABLE_OPERATIONS:
            return AwsError(f"{DYNAMODB_ERRORS}LimitExceededException", "Too many operations on tables at once.")
        text = "The level of configured provisioned throughput for the table was exceeded."
        return AwsError(f"{DYNAMODB_ERRORS}ProvisionedThroughputExceededException", text)

    def failure(self, call: Call) -> AwsError:
        """Return the error the service shows when it fails itself."""
        text = "The embedded AWS was told to fail here."
        if call.service == "s3":
            return AwsError("InternalError", text, 500)
        if call.service == "sqs":
            return AwsError("InternalFailure", text, 500)
        return AwsError(f"{DYNAMODB_ERRORS}InternalServerError", text, 500)


def service_of(request: Request) -> str:
    """Return the name of the service a request was signed for; unsigned ones are S3's."""
    if request.header("x-amz-target").startswith("DynamoDB_"):
        return "dynamodb"
    credential = request.header("authorization").partition("Credential=")[2].partition(",")[0]
    scope = credential.split("/")
    return scope[-2].lower() if len(scope) >= _SCOPE_PARTS else "s3"


_SCOPE_PARTS = 5  # key, date, region, service, "aws4_request"
_TABLE_OPERATIONS = ("CreateTable", "UpdateTable", "DeleteTable", "DescribeTable", "ListTables")


def _load() -> Wsgi:
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - takes most of a second; only who starts one pays
        DomainDispatcherApplication,
        create_backend_app,
    )

    from consumer.emulator import moto_dynamodb  # noqa: PLC0415 - as above

    moto_dynamodb.install()
    application: Wsgi = DomainDispatcherApplication(create_backend_app)
    return application


def _run(application: Wsgi, request: Request) -> Answer:
    started: list[Any] = []
    try:
        chunks = application(_environ(request), lambda status, headers, *_: started.extend((status, headers)))
        body = list(chunks)
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    except Exception:  # noqa: BLE001 - whatever moto stumbles over is an answer, as it would be from AWS
        _log.exception("moto failed on %s %s", request.method, request.path)
        return Answer(500, [("content-type", "text/plain")], [b"moto failed; the emulator's log says why"])
    status, headers = started
    kept = [(name.lower(), value) for name, value in headers if name.lower() not in ("connection", "server")]
    return Answer(int(status.split(" ", 1)[0]), kept, body)


def _environ(request: Request) -> Environ:
    """Return the WSGI environment of a request."""
    environ: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode().decode("latin-1"),
        "RAW_URI": request.raw_path or request.path,
        "QUERY_STRING": request.query,
        "SERVER_NAME": request.host,
        "SERVER_PORT": str(request.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(request.body)),
        "CONTENT_TYPE": request.header("content-type"),
        "HTTP_HOST": f"{request.host}:{request.port}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        if name not in ("content-length", "content-type", "transfer-encoding", "expect"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ


def _signed_for(service: str) -> dict[str, str]:
    """Return what tells moto which service is meant; nobody checks the signature."""
    credential = f"embedded/20200101/{REGION}/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"}


def _identify(service: str, request: Request) -> tuple[str, str]:
    """Return the name of the operation and its coordinates."""
    target = request.header("x-amz-target")
    if service == "s3":
        return _identify_s3(request)
    if target:
        operation = target.rpartition(".")[2]
        describe = {"dynamodb": _dynamodb_coordinates, "sqs": sqs.coordinates}.get(service)
        return operation, describe(request.body) if describe else ""
    if "x-www-form-urlencoded" in request.header("content-type"):
        return parse_qs(request.body.decode(errors="replace")).get("Action", [""])[0], ""
    return f"{request.method} {request.path}", ""


_S3_OBJECT = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_S3_BUCKET = {"GET": "ListObjects", "PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}
_S3_BY_QUERY = {
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "versions"): "ListObjectVersions",
    ("POST", "delete"): "DeleteObjects",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}


def _identify_s3(request: Request) -> tuple[str, str]:
    bucket, _, key = request.path.lstrip("/").partition("/")
    coordinates = f"{bucket}/{key}" if key else bucket
    if not bucket:
        return "ListBuckets", ""
    asked = parse_qs(request.query, keep_blank_values=True)
    for (method, name), operation in _S3_BY_QUERY.items():
        if request.method == method and name in asked:
            return operation, coordinates
    if request.method == "PUT" and request.header("x-amz-copy-source"):
        return "CopyObject", coordinates
    plain = _S3_OBJECT if key else _S3_BUCKET
    return plain.get(request.method, request.method), coordinates


class _DynamoRequest(msgspec.Struct):
    TableName: str = ""  # DynamoDB's own name, as all in this class
    Key: dict[str, dict[str, Any]] = {}
    Item: dict[str, dict[str, Any]] = {}
    TransactItems: list[dict[str, Any]] = []
    RequestItems: dict[str, Any] = {}


def _dynamodb_coordinates(body: bytes) -> str:
    try:
        request = msgspec.json.decode(body, type=_DynamoRequest)
    except msgspec.DecodeError:
        return ""  # DynamoDB itself will say what is wrong with it
    tables = sorted(request.RequestItems) or sorted(
        {part.get("TableName", "") for item in request.TransactItems for part in item.values()}
    )
    return " ".join([request.TableName, *tables, *_scalars(request.Key or request.Item)]).strip()


def _scalars(attributes: dict[str, dict[str, Any]]) -> list[str]:
    """Return `name=value` of the short strings and the numbers: the key is among them."""
    found = {name: value.get("S", value.get("N")) for name, value in attributes.items()}
    return [f"{name}={text}" for name, text in found.items() if _is_short(text)]


def _is_short(text: object) -> bool:
    return isinstance(text, str) and len(text) <= VALUE_CHARACTERS_MAX
