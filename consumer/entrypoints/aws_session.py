"""Which AWS account and region the worker, the function and the commands work in."""

from __future__ import annotations

from collections.abc import Mapping

import boto3

from consumer.errors import SetupError


def open_session(environ: Mapping[str, str]) -> boto3.Session:
    """Return a session with the credentials that boto3 finds, in the region of AWS_REGION.

    boto3 itself knows AWS_DEFAULT_REGION and the profile's region alone; like other clients of AWS, the daemon's among
    them, AWS_REGION goes before these.
    """
    return boto3.Session(region_name=environ.get("AWS_REGION") or None)


def region_of(session: boto3.Session) -> str:
    """Return the region; SetupError if none is set."""
    if session.region_name is None:
        raise SetupError("no AWS region is set: set AWS_REGION")
    return session.region_name
