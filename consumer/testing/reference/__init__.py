"""A plain interpreter of a pipeline: what must come out, told by code that shares nothing with the core.

It is slow, keeps everything, and reads like the contract. The generated core is tested against it, and the
demo recounts with it.
"""

from __future__ import annotations

from consumer.testing.reference.combining import Combined, complete_until, reference_combined
from consumer.testing.reference.interpreter import reference
from consumer.testing.reference.lineage import ReferenceShard, reference_lineage
from consumer.testing.reference.outcome import Adoption, Contributed, DeadLetter, Expected, Idle, OpenWindow

__all__ = [
    "Adoption",
    "Combined",
    "Contributed",
    "DeadLetter",
    "Expected",
    "Idle",
    "OpenWindow",
    "ReferenceShard",
    "complete_until",
    "reference",
    "reference_combined",
    "reference_lineage",
]
