"""Which properties of the daemon a pipeline file may set under `worker.kcl`."""

from __future__ import annotations

import re
from difflib import get_close_matches

from consumer.pipeline.schema import KCL_NAME

_ELSEWHERE = {
    "streamname": "`source.stream` sets it",
    "streamarn": "`source.stream` sets it",
    "applicationname": "`worker.application` sets it",
    "tablename": "`worker.application` sets it",
    "workeridentifier": "`worker.identifier` sets it",
    "workerid": "`worker.identifier` sets it",
    "initialpositioninstream": "`source.start` sets it",
    "initialpositioninstreamextended": "`source.start` sets it",
    "timestampatinitialpositioninstream": "`source.start` sets it",
    "regionname": "the environment variable AWS_REGION sets it, for the worker's own calls too",
    "executablename": "it is the worker's relay",
    "processinglanguage": "it belongs to the worker's relay",
    "callprocessrecordsevenforemptyrecordlist": "the worker needs it as it is",
}
"""Properties in lower case that the worker sets itself, and what sets them."""


_NUMBERS = (
    "maxRecords",
    "idleTimeBetweenReadsInMillis",
    "failoverTimeMillis",
    "leaseAssignmentIntervalMillis",
    "varianceBalancingFrequency",
    "workerMetricsReporterFreqInMillis",
    "shardConsumerDispatchPollIntervalMillis",
    "parentShardPollIntervalMillis",
    "reBalanceThresholdPercentage",
    "logWarningForTaskAfterMillis",
    "shutdownGraceMillis",
    "timeoutInSeconds",
)
_SPELLINGS = {name.lower(): name for name in (*_NUMBERS, "retrievalMode", "disableWorkerMetrics", "metricsLevel")}
"""Properties that have a default of ours: in another spelling they would stand beside it, and either might win."""


_LIKENESS = 0.9
"""Of 1: a name that is so like one of these is a slip. The daemon says nothing of names that it does not know."""
_MINIMA = {
    "shardConsumerDispatchPollIntervalMillis": (
        100,
        "the daemon's loop would spin, and read the lock row in each turn",
    ),
    "timeoutInSeconds": (3600, "the daemon kills itself when an answer takes longer, as it does while a sink is down"),
}
"""The least that a number may be, and why."""
_MAXIMA = {
    "idleTimeBetweenReadsInMillis": (
        60_000,
        "a shard without a read for minutes counts as one that stands still, and the worker is started again",
    ),
}
"""The most that a number may be, and why."""


def check_value(name: str, value: object) -> str | None:
    """Return why a value is none for a property that is a number, None if it is one. Others are checked elsewhere."""
    if name not in _NUMBERS or not isinstance(value, str | int) or str(value) == "0":
        return None
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,8}", str(value)):
        return "must be a whole number above 0"
    minimum, why_so_much = _MINIMA.get(name, (1, ""))
    if int(value) < minimum:
        return f"must be at least {minimum}: {why_so_much}"
    maximum, why_no_more = _MAXIMA.get(name, (int(value), ""))
    return None if int(value) <= maximum else f"must be at most {maximum}: {why_no_more}"


def check_property(name: str) -> str | None:
    """Return why a property cannot be set, None if it can. The daemon finds properties in any case of letters."""
    if not re.fullmatch(KCL_NAME, name):
        return "is no name of a property: letters, digits and dots, a letter first"
    lowered = name.lower()
    if "endpoint" in lowered:
        return "cannot be set here: the AWS_ENDPOINT_URL variables set endpoints, for the worker's own calls too"
    if "credentialsprovider" in lowered:
        return "cannot be set here: credentials come from the usual AWS chain, for the worker's own calls too"
    if _SPELLINGS.get(lowered, name) != name:
        return f"is spelled {_SPELLINGS[lowered]}"
    if reason := _ELSEWHERE.get(lowered):
        return f"cannot be set here: {reason}"
    meant = [] if lowered in _SPELLINGS else get_close_matches(lowered, _SPELLINGS, n=1, cutoff=_LIKENESS)
    return f"is no property of the daemon; did you mean {_SPELLINGS[meant[0]]}?" if meant else None
