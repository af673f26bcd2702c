"""Counts a text's tokens as every stage without a model of its own does: four characters each, rounded up."""

from __future__ import annotations


def count_tokens(text: str) -> int:
    return -(-len(text) // 4)
