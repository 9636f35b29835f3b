"""The web process: status, builds, live consoles, logs and the JSON API, read-only, from whatever a `Reader` knows."""

from __future__ import annotations

from services.web.app import WebSettings, create_app
from services.web.reader import Reader

__all__ = ["Reader", "WebSettings", "create_app"]
