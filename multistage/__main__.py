"""The ``multistage`` command; ``python -m multistage`` is the same."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command and return its exit code. What it needs is loaded within: Ctrl+C may come."""
    try:
        from multistage.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("Interrupted. Nothing is left running.", file=sys.stderr)
        return 130  # what a shell reports for a command that Ctrl+C ended


if __name__ == "__main__":
    sys.exit(main())
