"""Finds which facts of a conversation only repeat others, and plans what is kept of them."""
