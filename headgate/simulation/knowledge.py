"""What the rules know of changes in a simulation (headgate.gating.knowledge): as last read from the simulated Gerrit.

As with a real Gerrit, a change is read when it is first met and again when an event about it arrives; what happens to it silently in
between is not seen. Links between changes are followed anew at every event.
"""

from __future__ import annotations

from dataclasses import replace

from headgate.changes import Change
from headgate.gating import Key, Known
from headgate.refs import is_ref
from headgate.simulation.gerrit import HOSTNAME, Gerrit, Review


class Reading:
    """What has been read of changes; shared by all tenants."""

    def __init__(self, gerrit: Gerrit, names: dict[str, int]) -> None:
        self.gerrit = gerrit
        self.numbers = names
        self.cache: dict[Key, Known] = {}
        self.containing: dict[Key, tuple[str, ...]] = {}

    def keep_ref(self, change: Change, containing: tuple[str, ...] = ()) -> Key:
        """A branch or tag: all there is to know of it was in its event; and which branches have a tag."""
        self.cache[change.key] = Known(change)
        self.containing[change.key] = containing
        return change.key

    def review(self, key: Key) -> Review:
        return self.gerrit.by_number[key[1]]

    def known(self, key: Key) -> Known:
        if key not in self.cache:
            self.read(key)
        return self.cache[key]

    def project(self, key: Key) -> str:
        return f"{HOSTNAME}/{self.cache[key].change.project if is_ref(key) else self.review(key).project}"

    def read(self, key: Key) -> None:
        """Read a patchset again, and whatever it leads to that was never read. What a closed change is linked to is not asked any more."""
        if is_ref(key):
            return
        review = self.review(key)
        change = review.as_change(key[2])
        before = self.cache.get(key)
        self.cache[key] = Known(change, missing_labels=review.missing_labels())
        if not change.open:
            if before is not None:
                self.cache[key] = replace(self.cache[key], git_needs=before.git_needs, needed_by=before.needed_by)
            return
        below = ((key[0], review.parent[0].number, review.parent[1]),) if review.parent is not None else ()
        above = tuple((key[0], other.number, patchset) for other, patchset in review.children)
        for other in (*below, *above):
            self.known(other)
        git_needs = tuple(other for other in below if not self.cache[other].change.merged)
        needed_by = tuple(other for other in above if (found := self.cache[other].change).open and found.current)
        self.cache[key] = replace(self.cache[key], git_needs=git_needs, needed_by=needed_by)

    def said_needs(self, key: Key) -> list[Key]:
        """What a change's message says it depends on, as far as there are such changes, at their current patchsets."""
        found: list[Key] = []
        for name in self.review(key).depends_on if not is_ref(key) else ():
            number = self.numbers.get(name)
            if number in self.gerrit.by_number:
                needed = self.gerrit.by_number[number].key
                if not self.known(needed).change.merged and needed not in found:
                    found.append(needed)
        return found

    def same_topic(self, key: Key, history: list[str] | None = None, found: dict[Key, None] | None = None) -> list[Key]:
        """Open changes of its topic, and of the topics of those they are on in git."""
        topic = self.review(key).topic if not is_ref(key) else ""
        history = [] if history is None else history
        found = {} if found is None else found
        if not topic:
            return []
        history.append(topic)
        for review in self.gerrit.by_number.values():
            if review.status == "NEW" and topic in review.topic:
                found[review.key] = None
        for other in list(found):
            for parent in self.known(other).git_needs:
                above = self.review(parent).topic
                if parent not in found and above and above not in history:
                    self.same_topic(parent, history, found)
        return list(found)

    def depending_on(self, key: Key) -> tuple[Key, ...]:
        """Changes whose message names this one's address, as Zuul 14.3 finds them with Gerrit.

        Addresses are compared as text (1 is found in 12), and after each change found it is that one's address that is looked for in
        the rest of the answer: of two changes that need the same one, the second is missed until something else brings it in.
        """
        first = wanted = str(key[1])
        found: list[Key] = []
        for review in list(self.gerrit.by_number.values()):
            named = [str(self.numbers[name]) for name in review.depends_on if name in self.numbers]
            if not any(each.startswith(first) for each in named):
                continue
            for each in named:
                if each.startswith(wanted) and review.key not in found:
                    self.known(review.key)
                    found.append(review.key)
                    wanted = str(review.number)
        return tuple(found)
