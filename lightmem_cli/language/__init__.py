"""Reads from a conversation's text, without a model, what it says: sentences, statements, names, times and words."""
