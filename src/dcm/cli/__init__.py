"""The command line: `dcm run`, `dcm list`, `dcm show` and `dcm check`."""

from dcm.cli.app import main

__all__ = ["main"]
