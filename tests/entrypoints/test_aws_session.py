"""Which region the clients of boto3 work in."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.entrypoints.aws_session import open_session, region_of
from consumer.errors import SetupError


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def test_aws_region_goes_before_what_boto3_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert region_of(open_session({"AWS_REGION": "eu-central-1"})) == "eu-central-1"
    assert region_of(open_session({"AWS_REGION": ""})) == "us-east-1"
    assert region_of(open_session({})) == "us-east-1"


def test_the_region_of_the_profile_counts_without_them(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    assert region_of(open_session({})) == "eu-west-1"


def test_without_any_region_the_remedy_is_named() -> None:
    with pytest.raises(SetupError, match="set AWS_REGION"):
        region_of(open_session({}))
