"""The daemon with a faster loop: the jar is what the sources say, and is used with the jars it was made for."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.runtime.daemon_files import DEFAULTS
from consumer.runtime.jars import find_jars
from consumer.runtime.java import find_java
from consumer.runtime.paced_daemon import (
    JAR,
    MAIN_CLASS,
    PACED_MAIN_CLASS,
    compile_classes,
    program,
    sources,
    write_jar,
)

COMPILED_BY = "17"
"""Other versions of javac may compile the same to other bytes."""


def in_the_jar() -> dict[str, bytes]:
    with zipfile.ZipFile(JAR) as jar:
        return {name: jar.read(name) for name in jar.namelist()}


def classes() -> dict[str, bytes]:
    return {name: content for name, content in in_the_jar().items() if name.endswith(".class")}


def test_the_jar_was_made_of_these_sources() -> None:
    """Change a source, then: python -m consumer.runtime.paced_daemon."""
    assert {name: content for name, content in in_the_jar().items() if name.endswith(".java")} == sources()
    assert len(sources()) == len(classes()) == 3


def test_the_same_content_is_the_same_jar(tmp_path: Path) -> None:
    write_jar(tmp_path / "again.jar", classes())
    assert (tmp_path / "again.jar").read_bytes() == JAR.read_bytes()


@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no javac")
def test_the_sources_compile_to_what_is_in_the_jar() -> None:
    version = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=True).stdout
    compiled = compile_classes(find_jars())
    assert compiled.keys() == classes().keys()
    if re.match(rf"javac {COMPILED_BY}\b", version):
        assert compiled == classes()


def test_it_is_used_with_the_jars_that_it_was_tested_with() -> None:
    jars = find_jars().require()
    assert program(jars) == (f"{jars.class_path}:{JAR}", PACED_MAIN_CLASS)
    assert program(replace(jars, version="3.2.0")) == (f"{jars.class_path}:{JAR}", MAIN_CLASS)


def test_a_daemon_that_cannot_run_says_why_and_ends_with_1(tmp_path: Path) -> None:
    """With the real Java and jars: the property is read, and the parts of the daemon that it needs are there."""
    log = tmp_path / "log.xml"
    log.write_text("<configuration/>")
    class_path, main_class = program(find_jars())

    def run(properties: str) -> str:
        file = tmp_path / "daemon.properties"
        file.write_text(properties)
        files = ["--properties-file", str(file), "--log-configuration", str(log)]
        command = [str(find_java({}).path), "-XX:TieredStopAtLevel=1", "-cp", class_path, main_class, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        return done.stderr

    assert "Must provide an executable name" in run("")
    known = "executableName=none\nstreamName=s\napplicationName=a\nregionName=us-east-1\n"
    known += "AwsCredentialsProvider=DefaultCredentialsProvider\n"
    assert "NullPointerException" in run(known)
    assert 'NumberFormatException: For input string: "soon"' in run(
        known + "shardConsumerDispatchPollIntervalMillis=soon\n"
    )


def test_its_property_has_a_default() -> None:
    """It has none of its own: without one the daemon ends."""
    assert int(DEFAULTS["shardConsumerDispatchPollIntervalMillis"]) == 250
