"""Lets `python -m consumer` stand for the command."""

from __future__ import annotations

import sys

from consumer.cli import main

sys.exit(main())
