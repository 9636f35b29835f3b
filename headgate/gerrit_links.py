"""How a Gerrit's changes hang together, and what keeps them from being submitted: its JSON made into values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from headgate.changes import Change, Linked
from headgate.depends_on import addresses_in
from headgate.gerrit_facts import CHANGE_OPTIONS, Json

LINKED_OPTIONS = (*CHANGE_OPTIONS, "SUBMIT_REQUIREMENTS")
"""What to ask Gerrit for (`o=`) to make a `Linked`, beside the answer of `related`. A Gerrit before 3.5 leaves out the last one."""
MESSAGE_OPTIONS = ("CURRENT_REVISION", "CURRENT_COMMIT")


def linked_from(change: Change, info: Json, related: Json) -> Linked:
    """`change` is of `info` (a ChangeInfo with `LINKED_OPTIONS`), at the patchset that `related` (a RelatedChangesInfo) is about.

    Votes and requirements are the current patchset's, as Gerrit has no others. Where a project cherry-picks, a git parent is
    meant at its current patchset, because Gerrit merges it without the one it was pushed on.
    """
    needs: list[tuple[int, int]] = []
    needed_by: list[tuple[int, int]] = []
    floats = info.get("submit_type") == "CHERRY_PICK"
    for other in related["changes"] if change.open else ():
        number, patchset, current = other["_change_number"], other["_revision_number"], other["_current_revision_number"]
        if other["commit"]["commit"] in change.parents and other.get("status") != "MERGED":
            needs.append((number, current if floats else patchset))
        parents = {parent["commit"] for parent in other["commit"]["parents"]}
        if change.commit in parents and other.get("status") in (None, "NEW") and patchset == current:
            needed_by.append((number, patchset))
    return Linked(change, tuple(needs), tuple(needed_by), missing_labels(info), tuple(_unsatisfied(info)))


def is_about(related: Json, change: Change) -> bool:
    """Was `related` asked at this patchset? A change without relations has an empty answer at any."""
    commits = {other["commit"]["commit"] for other in related["changes"] if other["_change_number"] == change.number}
    return not related["changes"] or change.commit in commits


def missing_labels(info: Json) -> frozenset[str]:
    """Labels that submit rules ask for and that are vetoed or not at their maximum."""
    labels = info.get("labels", {}).items()
    return frozenset(name for name, label in labels if not label.get("optional") and (label.get("blocking") or "approved" not in label))


def _unsatisfied(info: Json) -> Iterable[str]:
    for requirement in info.get("submit_requirements", ()):
        if requirement.get("status") == "UNSATISFIED":
            yield str(requirement.get("submittability_expression_result", {}).get("expression", ""))


def change_number(address: str, hostnames: Iterable[str], path: str) -> int | None:
    """The number in an address of a Gerrit with these hostnames whose pages are below `path` ("" or `/r`); None if it is none.

    `https://HOST/1234`, `/#/c/1234`, `/c/PROJECT/+/1234`, with anything behind. The port and the scheme do not count.
    """
    try:
        parts = urlsplit(address)
        hostname = parts.hostname
    except ValueError:
        return None
    if hostname is None or hostname not in {each.lower() for each in hostnames}:
        return None
    place = parts.path + (f"#{parts.fragment}" if parts.fragment else "")
    found = re.match(rf"{re.escape(path.rstrip('/'))}/(?:#/c/|c/.*/\+/)?([0-9]{{1,18}})", place)
    return int(found[1]) if found else None


def says_number(info: Json, number: int) -> bool:
    """Has any `Depends-On` of the ChangeInfo (with `MESSAGE_OPTIONS`) this number in it?"""
    return any(re.search(rf"(?<![0-9]){number}(?![0-9])", address) for address in addresses_of(info))


def addresses_of(info: Json) -> tuple[str, ...]:
    """What the message of a ChangeInfo (with `MESSAGE_OPTIONS`) says it depends on."""
    return addresses_in(info["revisions"][info["current_revision"]]["commit"]["message"])
