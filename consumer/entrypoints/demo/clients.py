"""boto3 clients for the demo; endpoint, region and credentials come from the environment or a profile given here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

_CONFIG = Config(
    connect_timeout=3,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 3},
    s3={"addressing_style": "path"},
    proxies={},
)


def client(service: str, environ: Mapping[str, str] | None = None) -> Any:
    """Return a client; `environ` has the variables to use in the place of this process' own."""
    if environ is None:
        return boto3.session.Session().client(service, config=_CONFIG)  # type: ignore[call-overload] # any service
    session = boto3.session.Session(
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name=environ["AWS_DEFAULT_REGION"],
    )
    return session.client(service, endpoint_url=environ["AWS_ENDPOINT_URL"], config=_CONFIG)  # type: ignore[call-overload] # any service
