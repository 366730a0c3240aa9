"""Characters of values found again in the file, through quotes, escapes, folding and variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.pipeline import tree
from consumer.pipeline.interpolation import interpolate
from consumer.pipeline.problems import PipelineError, ProblemList, format_path


def scalar(source: str, **environ: str) -> tree.Scalar:
    problems = ProblemList("p.yaml", source)
    root = tree.parse_tree(source, problems)
    assert root is not None
    interpolate(root, environ, problems)
    problems.raise_if_any()
    node = tree.find(root, ("k",))
    assert isinstance(node, tree.Scalar)
    return node


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("k: abc d", "abc d"),
        ("k: abc\n  d", "abc d"),
        ("k: 'it''s d'", "it's d"),
        ('k: "a\\tb\\u0063\\x64 \\U0001F600d"', "a\tbcd \U0001f600d"),
        ('k: "ab \\\n   cd"', "ab cd"),
        ('k: "a\\n\\\\ d"', "a\n\\ d"),
        ("k: |\n  ab\n    c\n  d\n", "ab\n  c\nd\n"),
        ("k: >-\n  ab\n  c\n\n  d\n", "ab c\nd"),
        ("k: |2-\n    ab\n  d", "  ab\nd"),
        ("# before\nk:   'x d' # after", "x d"),
    ],
)
def test_every_visible_character_is_found(source: str, value: str) -> None:
    node = scalar(source)
    assert node.text == value
    assert len(node.indexes) == len(value) + 1
    assert list(node.indexes) == sorted(node.indexes)
    for offset, character in enumerate(value):
        if character == "d":
            at = source[node.index(offset) :]
            assert at.startswith(("d", "\\x64"))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "${" not in text))
def test_double_quoted_texts_of_any_kind(value: str) -> None:
    escaped = "".join(f"\\U{ord(character):08x}" for character in value)
    node = scalar(f'k: "{escaped}"')
    assert node.text == value
    for offset, character in enumerate(value):
        if character.isprintable() and not character.isspace():
            assert node.index(offset) == 4 + 10 * offset


def test_variables() -> None:
    node = scalar("k: a ${X} d ${Y:-z d} e", X="long value", Y="")
    assert node.text == "a long value d z d e"
    assert [node.index(offset) for offset in (0, 2, 11, 13, 15, 19)] == [3, 5, 5, 10, 12, 22]
    assert scalar("k: ${X}", X="  5 ").text == "5"
    assert scalar("k: '${X}'", X="  5 ").text == "  5 "
    assert scalar("k: $${X} $x $").text == "${X} $x $"


@pytest.mark.parametrize("written", ["${X}", "${1X}", "${}", "${X:}", "${X:+a}", "${X", "a${", "${X-a}"])
def test_references_that_are_wrong(written: str) -> None:
    with pytest.raises(PipelineError):
        scalar(f"k: '{written}'")


@pytest.mark.parametrize(
    ("index", "place"), [(0, (1, 1)), (1, (1, 2)), (2, (2, 1)), (4, (3, 1)), (6, (4, 1)), (7, (4, 2)), (99, (4, 2))]
)
def test_places_count_from_one_over_all_line_ends(index: int, place: tuple[int, int]) -> None:
    assert ProblemList("p.yaml", "a\n\r\n\r\r".replace("\r\r", "b\rc")).place(index) == place


def test_paths() -> None:
    assert format_path(("sinks", 0, "firehose", "streem")) == "sinks[0].firehose.streem"
    assert format_path(("windows", "by-hour", "by", 1)) == "windows.by-hour.by[1]"
    assert format_path(("let", "a b")) == 'let."a b"'
    assert format_path(("a.b", "\x1b", "")) == '"a.b"."\\x1b".""'
    assert format_path(()) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("TRUE", True),
        ("yes", "yes"),
        ("+12", 12),
        ("0o17", 15),
        ("017", 17),
        ("0xfF", 255),
        ("1_0", "1_0"),
        ("0b1", "0b1"),
        ("1.", 1.0),
        (".5e3", 500.0),
        ("1e3", 1000.0),
        (".", "."),
        ("-.INF", float("-inf")),
        ("12:30:00", "12:30:00"),
        ("2026-01-31", "2026-01-31"),
        ("9" * 5000, "9" * 5000),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_values_of_the_core_schema(text: str, value: object) -> None:
    resolved = tree.resolve(text)
    if len(text) > 1000:
        assert not isinstance(resolved, int)
    else:
        assert (resolved, type(resolved)) == (value, type(value))
