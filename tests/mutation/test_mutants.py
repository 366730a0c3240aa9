"""What is changed, and what is not."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.mutation import templates
from tests.mutation.mutants import mutants_of

PLAIN, WRITER, COMMIT = "consumer/core/panes.py", "consumer/core/loop_code.py", "consumer/runtime/commit.py"


def _made(body: str, path: str = PLAIN) -> set[str]:
    """Return what a function's body becomes in each mutant, line ends as semicolons."""
    source = "def f(a, b, c, self):\n" + "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())
    made = [mutant.of(source) for mutant in mutants_of(source, path)]
    for text in made:
        compile(text, path, "exec")
    return {"; ".join(line.strip() for line in text.splitlines()[1:]) for text in made}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a < b", {"return a <= b"}),
        ("return a is not None", {"return a is None"}),
        ("return a in b", {"return a not in b"}),
        ("return (a) < (b)", {"return (a) <= (b)"}),
        ("return a < b <= c", {"return a <= b <= c", "return a < b < c"}),
        ("return a + b", {"return a - b"}),
        ("return a // b", {"return a * b"}),
        ("return -a", {"return (a)"}),
        ("return not a", {"return (a)"}),
        ("return a and b", {"return ((a))", "return ((b))"}),
        ("return a or b or c", {"return ((a) or (b))", "return ((a) or (c))", "return ((b) or (c))"}),
        ("return 7", {"return 8"}),
        ("return True", {"return False"}),
        ("return min(a, b)", {"return max(a, b)"}),
        ("return a if b else c", {"return a if (not (b)) else c"}),
        ("return [x for x in a if b]", {"return [x for x in a if (not (b))]"}),
        ("self.x = a", {"pass"}),
        ("self.x, self.y = a", {"pass"}),
        ("self.x += a", {"pass", "self.x -= a"}),
        ("a(b)", {"pass"}),
        ("raise a", {"pass"}),
        ("for x in a:\n    continue", {"for x in a:; break", "for x in a:; pass"}),
        ("if a:\n    return b", {"if (not (a)):; return b"}),
    ],
)
def test_what_functions_do_is_changed(body: str, expected: set[str]) -> None:
    assert _made(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        '"""Say 1 < 2."""',
        "a = b",
        "raise NotImplementedError",
        "return zip(a, b, strict=True)",
        "x: int = a",
        "return 'a < b'",
        "return f'{a} and {b}'",
        "return 'text' + a",
    ],
)
def test_messages_and_names_are_not(body: str) -> None:
    assert _made(body) == set()


def test_what_errors_say_is_not_changed() -> None:
    assert _made("raise ValueError(f'{a + 1} of 2')") == {"pass"}


def test_nothing_outside_of_functions_is_changed() -> None:
    assert not mutants_of("LIMIT = 7\nclass A:\n    x: int = 1 + 2\n\n    def f(self, y=3): return y\n", PLAIN)


def test_the_code_that_is_written_is_changed_and_so_is_what_is_filled_in() -> None:
    line = """self.line(f"if {a} - {b + 1} <= time_ms and not {c}: raise Fault('1 < 2')")"""
    made = _made(line, WRITER)
    assert made == {
        "pass",
        line.replace("{a} - ", "{a} + "),
        line.replace("b + 1", "b - 1"),
        line.replace("b + 1", "b + 2"),
        line.replace("<=", "<", 1),
        line.replace(" and ", " or "),
        line.replace("not ", ""),
    }


def test_remarks_that_are_written_are_not() -> None:
    assert _made("self.line(f'# {a}')", WRITER) == _made('self.line(\'"""Say it."""\')', WRITER) == set()
    assert _made("self.line('x = a')", WRITER) == {"pass"}


def test_tables_of_code_are_changed() -> None:
    made = {mutant.of('T = {"a": "x < 1"}') for mutant in mutants_of('T = {"a": "x < 1"}', WRITER)}
    assert made == {'T = {"a": "x <= 1"}', 'T = {"a": "x < 2"}'}


def test_conditions_of_the_fence_are_changed() -> None:
    text = "#epoch = :epoch AND attribute_not_exists(#number)"
    made = {text[:start] + new + text[end:] for start, end, new in templates.conditions(text)}
    assert made == {
        "#epoch <> :epoch AND attribute_not_exists(#number)",
        "#epoch = :epoch OR attribute_not_exists(#number)",
        "#epoch = :epoch AND attribute_exists(#number)",
        "#epoch = :epoch",
        "attribute_not_exists(#number)",
    }
    assert not list(templates.conditions("this and that = other"))


def test_neighbours_change_places_where_the_order_is_a_rule() -> None:
    body = "send(a)\nself._fence(a)\nreturn a"
    assert "self._fence(a); send(a); return a" in _made(body, COMMIT)
    assert "self._fence(a); send(a); return a" not in _made(body)
    assert "self.x = a; send(a)" in _made("send(a)\nself.x = a", COMMIT)
    assert _made("self.log(a)\nsend(a)", COMMIT) == {"pass; send(a)", "self.log(a); pass"}


def test_text_before_a_change_may_be_of_any_letters() -> None:
    assert _made("return 'äöü€', a < b") == {"return 'äöü€', a <= b"}
