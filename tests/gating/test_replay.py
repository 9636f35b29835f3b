"""Recorded events under two policies: what would have merged, how soon, at what cost."""

from __future__ import annotations

import json

import pytest

from headgate.simulation import BadScenario, parse_recording, replay
from tests.gating.story import PIPELINES, PROJECT, setting_of

CONFIG = PIPELINES + PROJECT.format(name="nova", queue="queue: shared")


def recording(*lines: dict[str, object]) -> str:
    return "\n".join(json.dumps(line) for line in lines)


def approved(name: str, at: int) -> list[dict[str, object]]:
    return [
        {"at": at, "op": "change", "id": name, "project": "nova"},
        {"at": at, "op": "approve", "id": name, "label": "Code-Review", "value": 2},
        {"at": at, "op": "approve", "id": name, "label": "Approved", "value": 1, "event": True},
    ]


THREE = recording(
    {"op": "duration", "job": "unit", "seconds": 600}, {"op": "duration", "job": ".*", "seconds": 60},
    *approved("A", 0), *approved("B", 10), *approved("C", 20), {"at": 20, "op": "fail", "job": "lint", "id": "B"},
)  # fmt: skip


def test_wide_window_merges_sooner_and_narrow_one_builds_less() -> None:
    one_at_once = CONFIG.replace("manager: dependent", "manager: dependent\n    window: 1\n    window-floor: 1\n    window-ceiling: 1")
    wide = replay(parse_recording(THREE), setting_of(CONFIG, ["nova"]))
    narrow = replay(parse_recording(THREE), setting_of(one_at_once, ["nova"]))
    assert wide["merged"] == narrow["merged"] == 2
    longest = "seconds from approval to merge, longest"
    assert wide[longest] < narrow[longest]
    assert wide["builds"] > narrow["builds"] and wide["build seconds"] > narrow["build seconds"]
    assert wide["builds cancelled"] > 0 == narrow["builds cancelled"]


@pytest.mark.parametrize(("text", "sentence"), [
    ("{", "line 1: no JSON"),
    ('\n{"op": "event", "id": "A"}', "line 2: an event is an object with at"),
    ('{"op": "duration", "job": "x"}', "line 1: an event is an object with job and seconds"),
])  # fmt: skip
def test_bad_recording_is_told_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadScenario, match=f"^{sentence}"):
        parse_recording(text)
