"""`streamgauge`, but states of 200 bytes are large, and ended parents are tidied up at once. Run with `python -m`."""

from __future__ import annotations

import sys

from consumer.cli import main
from consumer.runtime import commit, tidying

if __name__ == "__main__":
    vars(commit)["INLINE_BYTES_MAX"] = 200
    tidying._FIRST_WAIT_SECONDS = 0.0
    sys.exit(main(sys.argv[1:]))
