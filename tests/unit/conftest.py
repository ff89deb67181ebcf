"""The daemonless engine is for Linux: elsewhere there is nothing of it to test."""

from __future__ import annotations

import sys
from pathlib import Path

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if sys.platform != "linux" and "engines.daemonless" in path.read_text("utf-8")
]
