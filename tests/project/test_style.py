"""What every file of the project keeps to, beyond what ruff and mypy see."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THIS = Path(__file__).relative_to(ROOT)

HIDDEN_BUT_OURS = {".ci", ".github", ".gitignore", ".dockerignore"}
MADE = {"__pycache__", "build", "dist", "node_modules"}
LINES_MAX = 500

PLACES_OF_A_MACHINE = re.compile(
    r"(?<![\w.])/(?:work|home(?!/streamgauge\b)|Users|root|mnt)/\w|/tmp/\w|\.\./shared|shared/design"
)
REGISTRY_HOSTS = re.compile(r"--(?:extra-)?index-url|--trusted-host|--find-links[= ]\S*://|proxy[.:]\w+.*/simple")
LATER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
ISSUES = re.compile(r"\bissues? #?\d+\b|\bhelper session\b", re.IGNORECASE)
EXCEPTION = re.compile(r"#\s*(?:(?:ruff: )?noqa|type:\s*ignore|pragma:)(?P<rest>.*)")
EXCEPTION_WITH_REASON = re.compile(
    r"(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[\w, -]+\]|\s*no cover)\s*(?:--?|[#(:])\s*\w+.*\w"
)


def files() -> list[Path]:
    """Return every text file of the project, made and hidden ones left out."""
    return sorted(walk(ROOT))


def walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in MADE or path.name.endswith(".egg-info"):
            continue
        if path.name.startswith(".") and path.name not in HIDDEN_BUT_OURS:
            continue
        if path.is_dir():
            yield from walk(path)
        elif is_text(path):
            yield path


def is_text(path: Path) -> bool:
    return b"\0" not in path.read_bytes()[:8_192]


def violations(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Return the places where the pattern stands, this file left out."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        if path.relative_to(ROOT) != THIS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    "pattern",
    [PLACES_OF_A_MACHINE, REGISTRY_HOSTS, LATER, ISSUES],
    ids=["machine", "registry", "later", "issues"],
)
def test_no_file_says(pattern: re.Pattern[str]) -> None:
    found = violations(pattern, files())
    assert not found, "\n".join(found)


def test_modules_are_short() -> None:
    lengths = {
        path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines())
        for path in files()
        if path.suffix == ".py" and path.is_relative_to(ROOT / "consumer")
    }
    assert {path: length for path, length in lengths.items() if length > LINES_MAX} == {}


def test_every_exception_from_a_check_gives_its_reason() -> None:
    without = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        if path.suffix == ".py" and path.relative_to(ROOT) != THIS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for found in [EXCEPTION.search(line)]
        if found and not EXCEPTION_WITH_REASON.match(found["rest"])
    ]
    assert not without, "\n".join(without)


def test_ruff_asks_for_docstrings_everywhere_in_the_package() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    docstrings = {"D100", "D101", "D102", "D103", "D104", "D"}
    assert lint["select"] == ["ALL"]
    assert not docstrings & set(lint["ignore"])
    for place, ignored in lint["per-file-ignores"].items():
        assert place.startswith(("tests/", "bench/")) or not docstrings & set(ignored), place


def test_tests_are_unique_and_no_package() -> None:
    assert not [path for path in files() if path.name == "__init__.py" and "tests" in path.relative_to(ROOT).parts]


def test_text_files_end_with_a_line_end_and_use_no_other() -> None:
    bad = [
        path.relative_to(ROOT)
        for path in files()
        if (data := path.read_bytes()) and (not data.endswith(b"\n") or b"\r" in data)
    ]
    assert bad == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (PLACES_OF_A_MACHINE, "cd /wo" + "rk/main"),
        (PLACES_OF_A_MACHINE, "open('/tm" + "p/x')"),
        (PLACES_OF_A_MACHINE, "see ../shar" + "ed/README"),
        (REGISTRY_HOSTS, "--index-url https://example.org"),
        (LATER, "# TO" + "DO: later"),
        (ISSUES, "see issue 3"),
    ],
)
def test_a_pattern_finds_what_it_is_for(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (PLACES_OF_A_MACHINE, "`/tmp` is the only writable place; bench/emulator.py; docs/work/x"),
        (PLACES_OF_A_MACHINE, "https://example.org/home/x"),
        (LATER, "todo lists are fine"),
        (ISSUES, "an issue of 3 tokens"),
    ],
)
def test_a_pattern_leaves_the_rest_alone(pattern: re.Pattern[str], line: str) -> None:
    assert not pattern.search(line)


@pytest.mark.parametrize(
    ("line", "reasoned"),
    [
        ("x = 1  # noqa", False),
        ("x = 1  # noqa: S101", False),
        ("x = 1  # noqa: S101 - it holds", True),
        ("x = 1  # noqa: S101, B018 - it holds", True),
        ("x = 1  # noqa: S101 -- it holds", True),
        ("# ruff: noqa: D401 - it says what happened", True),
        ("x = 1  # type: ignore[misc]", False),
        ("x = 1  # type: ignore[misc]  # the library lacks it", True),
        ("x = 1  # type: ignore", False),
    ],
)
def test_a_reason_is_recognised(line: str, reasoned: bool) -> None:  # noqa: FBT001 - a parameter of a test
    found = EXCEPTION.search(line)
    assert found is not None
    assert bool(EXCEPTION_WITH_REASON.match(found["rest"])) == reasoned
