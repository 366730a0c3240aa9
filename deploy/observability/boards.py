"""All dashboards. The overview is where one begins; the others are for whoever knows already where to look."""

from __future__ import annotations

from deploy.observability.overview_board import OVERVIEW
from deploy.observability.shard_boards import SHARDS, STATE
from deploy.observability.worker_boards import SINKS, WORKERS

BOARDS = (OVERVIEW, SHARDS, STATE, SINKS, WORKERS)
