"""Runs the command line as `python -m lightmem_cli`."""

from lightmem_cli.cli import run

run()
