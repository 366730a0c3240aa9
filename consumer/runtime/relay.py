"""The process that the Java daemon starts once a shard: it hands its pipes to the worker and waits.

Run as `python -ISs relay.py SOCKET`. The daemon speaks to its child over standard input and output; the relay gives
both ends to the worker as file descriptors, closes its own, and no byte passes through it afterwards.

- It ends with status 0 when the worker lets go of the shard, and with 1 when the worker or the daemon is gone.
- It writes nothing, ever: standard output belongs to the protocol, and the daemon logs standard error as errors.
- There is one for every shard, so it imports as little as possible: `_socket`, the module below `socket`, saves
  0.7 MB and 8 ms a shard, and is the reason why this file imports nothing of the package.
"""

import _socket
import array
import os
import select
import sys

STDIN, STDOUT, STDERR = 0, 1, 2


def hand_over(path: str) -> _socket.socket:
    """Give standard input and output to the worker that listens at `path`; return the connection to it."""
    worker = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    worker.connect(path)
    pipes = array.array("i", [STDIN, STDOUT])
    worker.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pipes)])
    os.close(STDIN)
    os.close(STDOUT)
    return worker


def wait(worker: _socket.socket) -> int:
    """Return the exit status: 0 once the worker has let go, 1 if it or the daemon ended before that.

    Standard error is a pipe to the daemon: it reports an error when nobody is left to read it.
    """
    ends = select.poll()
    ends.register(worker.fileno(), select.POLLIN)
    ends.register(STDERR, 0)
    ready = dict(ends.poll())
    return 0 if worker.fileno() in ready and worker.recv(1) else 1


def main() -> int:
    """Hand over, wait, and turn every failure into a silent status 1: the daemon and the worker tell what happened."""
    try:
        return wait(hand_over(sys.argv[1]))
    except OSError:
        return 1


if __name__ == "__main__":
    os._exit(main())  # nothing is left to flush, and a clean-up would touch the closed standard streams
