"""The deep target: a million random inputs, each checked. `python -m tests.fuzz --cases N --seed S`.

Decoder: records of every format and compression against the reference. Expressions: texts are read, and read back the
same, or refused at a place inside them. Loader: damaged pipeline files are loaded or refused, never anything else.
Windows: random pipelines and streams, the generated code against the interpreter, in batches and with restarts.
The default suite runs a bounded part of each. The first difference ends the run with its seed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from random import Random

from consumer.pipeline.canonical import to_text
from consumer.pipeline.expressions import parse_expression
from consumer.pipeline.load import PipelineError, load_text
from consumer.pipeline.model import Type
from consumer.pipeline.tokens import ExpressionError
from tests.core import fuzz_decode, test_against_reference
from tests.pipeline.test_load_properties import PIECES, TEXTS

SCOPE = {f"{type_}{'_or_null' * nullable}": (type_, nullable) for type_ in Type for nullable in (False, True)}
TOKENS = [
    *SCOPE,
    *("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "and", "or", "not", "in", "is null", "is not null"),
    *("(", ")", ",", "if(", "coalesce(", "lower(", "substring(", "matches(", "bucket(", "round(", "to_int(", "abs("),
    *(
        "'text'",
        '"x"',
        "'it''s'",
        "0",
        "1",
        "-7",
        "2.5",
        "1e308",
        "9223372036854775807",
        "true",
        "false",
        "null",
        "é",
        "#",
    ),
]


def decoder(cases: int, random: Random) -> None:
    """Compare records as they are read."""
    fuzz_decode.run(cases, random.randrange(2**32))


def expressions(cases: int, random: Random) -> None:
    """Read texts that look like expressions."""
    for _ in range(cases):
        text = " ".join(random.choices(TOKENS, k=random.randint(1, 9)))
        place = len(text)
        try:
            expression = parse_expression(text, SCOPE)
        except ExpressionError as error:
            place = error.offset
        else:
            assert parse_expression(to_text(expression), SCOPE) == expression, text
        assert 0 <= place <= len(text), text


def loader(cases: int, random: Random) -> None:
    """Load damaged files."""
    for _ in range(cases):
        text = random.choice(TEXTS)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(text) + 1)
            text = text[:at] + random.choice(["", random.choice(PIECES)]) + text[at + random.randrange(12) :]
        with contextlib.suppress(PipelineError):
            load_text(text, "fuzz.yaml", {"HOME": "h"})


def windows(cases: int, random: Random) -> None:
    """Compare rows of random pipelines. A case is a record; a pipeline has some fifty."""
    for _ in range(max(1, cases // 50)):
        seed = random.randrange(2**32)
        for check in (
            test_against_reference.test_generated_code_gives_what_the_interpreter_gives,
            test_against_reference.test_results_do_not_depend_on_batches,
            test_against_reference.test_results_do_not_depend_on_freezing_and_restoring,
        ):
            try:
                check(seed)
            except Exception as error:
                error.add_note(f"seed {seed}")
                raise


PARTS: dict[Callable[[int, Random], None], float] = {decoder: 0.5, expressions: 0.45, windows: 0.045, loader: 0.005}
"""What shares of the cases they get: a damaged file takes a thousand times as long as a text."""


def main() -> int:
    """Run all parts."""
    parser = argparse.ArgumentParser(description="Checks random inputs.")
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for part, share in PARTS.items():
        cases = int(options.cases * share)
        sys.stderr.write(f"fuzz: {part.__name__}, {cases:,} cases, seed {options.seed}\n")
        part(cases, Random(f"{part.__name__} {options.seed}"))
    sys.stderr.write("fuzz: no difference\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
