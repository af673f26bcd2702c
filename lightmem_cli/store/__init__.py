"""Keeps conversations on disk: history is the truth, words and vectors are indexes that can be made again."""
