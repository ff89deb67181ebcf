"""Where the daemonless engine keeps what it keeps."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Return the engine's folder in the user's cache, for this user alone."""
    return user_cache_path("multistage-course") / "daemonless"
