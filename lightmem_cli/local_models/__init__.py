"""Prepares the models that read a conversation on this machine, without a network."""
