"""The shape of a regular expression in a configuration."""

from __future__ import annotations

from headgate.configuration.shapes import FLAG, TEXT, Either, Record

REGEX = Either(TEXT, Record({"regex": TEXT, "negate": FLAG}, required=("regex",)))
REGEX.called = "a regular expression, or a mapping with regex and negate"
