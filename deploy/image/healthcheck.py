"""The image's HEALTHCHECK: status 0 if the worker says that it is alive. Run as `python -ISs healthcheck.py`.

It asks /healthz of the worker in this container, at the port STREAMGAUGE_METRICS_PORT (9102): set it where the pipeline
file has another `worker.metrics_port`. It runs every few seconds, so it imports next to nothing.
"""

import os
import socket
import sys

DEFAULT_PORT = "9102"
SECONDS_MAX = 3.0
_REQUEST = b"GET /healthz HTTP/1.0\r\n\r\n"
_ANSWER_BYTES_MAX = 4096


def main() -> int:
    """Ask, show the answer, return the exit status."""
    try:
        answer = ask(int(os.environ.get("STREAMGAUGE_METRICS_PORT", DEFAULT_PORT)))
    except (OSError, ValueError) as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    sys.stdout.write(body.decode(errors="replace"))
    return 0 if head.split(b" ")[1:2] == [b"200"] else 1


def ask(port: int) -> bytes:
    """Return the worker's answer, or the beginning of a long one."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as connection:
        connection.sendall(_REQUEST)
        answer = b""
        while len(answer) < _ANSWER_BYTES_MAX and (part := connection.recv(_ANSWER_BYTES_MAX)):
            answer += part
        return answer


if __name__ == "__main__":
    sys.exit(main())
