"""How tight operators bind: greater binds tighter. The reading of expressions and their printing share it."""

from __future__ import annotations

from consumer.pipeline.typing_rules import EQUALITY, ORDERING

OR, AND, NOT, COMPARISON, SUM, PRODUCT, SIGN = range(1, 8)

POWERS = {
    "or": OR,
    "and": AND,
    "is": COMPARISON,
    "in": COMPARISON,
    **dict.fromkeys(EQUALITY + ORDERING, COMPARISON),
    **dict.fromkeys("+-", SUM),
    **dict.fromkeys("*/%", PRODUCT),
}
"""Binding power of what may follow an operand; `not` may too, before `in`."""
