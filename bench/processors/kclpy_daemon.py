"""Starts the daemon the usual way: one process of kclpy a shard, and nothing above it.

Run as `python -m bench.processors.kclpy_daemon --stream S --application A --tallies DIRECTORY`; it becomes the Java
process. Same daemon, same properties, same flags as everything else here, but for the command that serves a shard.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from bench.processors.settings import daemon_config
from consumer.environment import environment
from consumer.runtime.daemon_files import render_log_configuration, render_properties
from consumer.runtime.jars import find_jars
from consumer.runtime.java import JvmOptions, find_java
from consumer.runtime.paced_daemon import MAIN_CLASS

PROCESSOR = "bench.processors.kclpy_processor"
"""A module; PYTHONPATH of the environment has the directory above `bench`."""


def main() -> None:
    """Write the files beside the tallies and become Java."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stream", required=True)
    parser.add_argument("--application", required=True)
    parser.add_argument("--tallies", type=Path, required=True)
    options = parser.parse_args()
    environ = environment()
    java, jars = find_java(environ), find_jars().require()
    directory: Path = options.tallies
    # The daemon splits its command at blanks; the paths of a command in a file may have some.
    processor = directory / "processor"
    processor.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, '-m', PROCESSOR, str(directory)])}\n")
    processor.chmod(0o700)
    properties = directory / "daemon.properties"
    properties.write_text(
        render_properties(daemon_config(options.stream, options.application).properties(str(processor)))
    )
    log = directory / "daemon-log.xml"
    log.write_text(render_log_configuration("WARN"))
    files = ["--properties-file", str(properties), "--log-configuration", str(log)]
    command = [str(java.path), *JvmOptions().flags(), "-cp", jars.class_path, MAIN_CLASS, *files]
    os.execve(command[0], command, dict(environ))  # noqa: S606 -- Java, no shell


if __name__ == "__main__":
    main()
