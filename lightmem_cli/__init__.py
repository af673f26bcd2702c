"""Keeps a conversation as a long-term memory in a local directory, and finds the right piece of it again."""

from lightmem_cli.privacy import turn_off_telemetry

turn_off_telemetry()
