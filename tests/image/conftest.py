"""Builds the images once, with the Docker of the machine or one of our own: `make image-test`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest

from deploy.image.build import IMAGES, build, find_base
from deploy.image.docker import Docker, find_docker, running


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    with running(find_docker(os.environ)) as docker:
        yield docker


@pytest.fixture(scope="session")
def images(docker: Docker) -> Mapping[str, str]:
    """Return the images by target; builders do again only what has changed."""
    base = find_base(docker, os.environ.get("BASE_IMAGE"), make=True)
    for target in IMAGES:
        build(docker, target, base)
    return IMAGES


@pytest.fixture(scope="session")
def worker_image(images: Mapping[str, str]) -> str:
    return images["worker"]
