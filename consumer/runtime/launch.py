"""Starts a command that dies with its parent, whatever way the parent ends.

Run as `python -ISs launch.py PARENT_PID COMMAND...`; it becomes the command (same process id). A daemon that outlives
the worker keeps its leases under the same name and starts relays that nobody answers, so the kernel is asked to
send SIGKILL at the parent's death. Elsewhere than on Linux the command runs without that.

The kernel ties the request to the *thread* that started this process: it must be one that lives as long as the
process (the main thread). The setting survives exec, unless the command is set-user-id.
"""

import os
import signal
import sys

EXIT_ORPHANED = 125
EXIT_CANNOT_RUN = 127
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> bool:
    """Ask for SIGKILL at the parent's death; return False if it is gone already."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 -- costs 20 ms, and only Linux needs it

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the request: then there will be no signal, but there is another parent.
    return os.getppid() == parent_pid


def main(arguments: list[str]) -> int:
    """Become the command, or return a status that says why not."""
    parent_pid, *command = arguments
    try:
        if not die_with_parent(int(parent_pid)):
            return EXIT_ORPHANED
        os.execv(command[0], command)  # noqa: S606 -- the worker's own command line, no shell
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error}\n")
    return EXIT_CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
