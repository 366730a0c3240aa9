"""Builds the images, with Docker or buildah: `make image`, `make image ARGS="--target lambda --base IMAGE"`.

The base image is BASE_IMAGE, a Debian with Python; without it python:3.13-slim, which is pulled. `--make-base` makes
one of Debian's packages where that cannot be pulled (as root, with debootstrap). SSL_CERT_FILE is what the builder's
network calls trust, where it is set; nothing of it stays in the image.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from consumer import __version__
from deploy.image.docker import Docker, DockerError, find_docker, running

ROOT = Path(__file__).parents[2]
BASE = "python:3.13-slim"
MADE_BASE = "streamgauge-base:trixie"
DEBIAN = "trixie"
MIRROR = "http://deb.debian.org/debian"
IMAGES = {
    "worker": f"streamgauge:{__version__}",
    "lambda": f"streamgauge-lambda:{__version__}",
    "emulator": f"streamgauge-emulator:{__version__}",
}
"""The image of each target of the Dockerfile."""
_OF_NO_USE = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
)
"""What images of Debian leave out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.buildah:
            _build_with_buildah(options)
            return 0
        with running(find_docker(os.environ)) as docker:
            base = find_base(docker, options.base, make=options.make_base)
            for target in options.target:
                build(docker, target, base)
                print(f"{IMAGES[target]}: {size_bytes(docker, IMAGES[target]) / 1e6:.0f} MB")
    except DockerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build(docker: Docker, target: str, base: str) -> None:
    """Build the image of one target on a base image; DockerError if it fails."""
    docker.show(["build", "--progress", "plain", *_arguments(target, base, docker.environ)])


def find_base(docker: Docker, wanted: str | None, *, make: bool) -> str:
    """Return the name of a base image: what is wanted, else BASE where it is here or can be pulled, else one we make.

    DockerError if none can be had.
    """
    for name in [wanted] if wanted else [BASE]:
        if docker.has_image(name) or docker.run("pull", name, check=False).returncode == 0:
            return name
    if wanted or not make:
        raise DockerError(
            f"the base image {wanted or BASE} is not here and cannot be pulled. Name another one (BASE_IMAGE=...), or "
            "say --make-base, which makes one of Debian's packages (as root, with debootstrap)."
        )
    if not docker.has_image(MADE_BASE):
        make_base(docker)
    return MADE_BASE


def make_base(docker: Docker) -> None:
    """Make MADE_BASE of Debian's packages; DockerError with the remedy if that cannot be."""
    debootstrap = shutil.which("debootstrap")
    if debootstrap is None or os.geteuid() != 0:
        raise DockerError(f"making {MADE_BASE} takes root and debootstrap (apt-get install debootstrap).")
    with tempfile.TemporaryDirectory(prefix="streamgauge-base-") as directory:
        root, archive = Path(directory, "root"), Path(directory, "root.tar")
        packages = "--include=python3,python3-venv,ca-certificates"
        subprocess.run([debootstrap, "--variant=minbase", packages, DEBIAN, str(root), MIRROR], check=True)
        for folder in _OF_NO_USE:
            shutil.rmtree(root / folder)
            (root / folder).mkdir()
        subprocess.run(["/usr/bin/tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        docker.run("import", str(archive), MADE_BASE)


def size_bytes(docker: Docker, image: str) -> int:
    """Return the size of an image, all layers."""
    return int(docker.run("image", "inspect", "--format", "{{.Size}}", image).stdout)


def _build_with_buildah(options: argparse.Namespace) -> None:
    buildah = shutil.which("buildah")
    if buildah is None:
        raise DockerError("there is no buildah (Debian and Ubuntu: apt-get install buildah)")
    for target in options.target:
        arguments = _arguments(target, options.base or f"docker.io/library/{BASE}", os.environ)
        # Docker's format: the other one knows no HEALTHCHECK.
        if subprocess.run([buildah, "build", "--layers", "--format", "docker", *arguments], check=False).returncode:
            raise DockerError("buildah has failed")


def _arguments(target: str, base: str, environ: Mapping[str, str]) -> list[str]:
    given = {"BASE_IMAGE": base, "VERSION": __version__, "REVISION": _revision()}
    values = [argument for name, value in given.items() for argument in ("--build-arg", f"{name}={value}")]
    return [*values, *_secrets(environ), "--target", target, "--tag", IMAGES[target], str(ROOT)]


def _secrets(environ: Mapping[str, str]) -> Iterator[str]:
    bundle = environ.get("SSL_CERT_FILE")
    if bundle:
        yield "--secret"
        yield f"id=ca,src={bundle}"


def _revision() -> str:
    """Return the commit, or `unknown` outside of a repository."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    done = subprocess.run([git, "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Builds the images.")
    parser.add_argument("--target", choices=IMAGES, nargs="+", default=tuple(IMAGES), help="default: all")
    parser.add_argument("--base", default=os.environ.get("BASE_IMAGE"), metavar="IMAGE", help=f"default: {BASE}")
    parser.add_argument("--make-base", action="store_true", help="make a base image where none can be pulled")
    parser.add_argument("--buildah", action="store_true", help="build with buildah")
    return parser


if __name__ == "__main__":
    sys.exit(main())
