"""Keeps a conversation as a long-term memory in a local directory, and finds the right piece of it again."""
