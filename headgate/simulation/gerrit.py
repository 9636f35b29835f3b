"""A Gerrit that keeps changes, votes and messages in memory, and submits as told.

Labels as in Zuul's own fake: Approved -1..1, Code-Review -2..2, Verified -2..2, each needed at its maximum and vetoed at its minimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from headgate.changes import Approval, Change
from headgate.gating.state import Key
from headgate.simulation.repositories import Commit, Repositories, merge
from headgate.simulation.texts import Conflict

CI_ACCOUNT = "jenkins"
REVIEWER = "reviewer_john"
LABELS = {"Approved": (-1, 1), "Code-Review": (-2, 2), "Verified": (-2, 2)}
CONNECTION = "gerrit"
HOSTNAME = "review.example.com"


@dataclass(slots=True)
class Patchset:
    commit: Commit
    files: tuple[str, ...]
    approvals: tuple[Approval, ...] = ()


@dataclass(slots=True)
class Review:
    """One change. `parent` is the change and patchset below it in git. `refused`: Gerrit does not submit it."""

    id: str
    number: int
    project: str
    branch: str
    subject: str
    topic: str = ""
    depends_on: tuple[str, ...] = ()
    parent: tuple[Review, int] | None = None
    patchsets: list[Patchset] = field(default_factory=list)
    children: list[tuple[Review, int]] = field(default_factory=list)
    status: str = "NEW"
    refused: bool = False
    messages: list[str] = field(default_factory=list)
    reports: int = 0

    @property
    def canonical(self) -> str:
        return f"{HOSTNAME}/{self.project}"

    @property
    def url(self) -> str:
        return f"https://{HOSTNAME}/{self.number}"

    @property
    def key(self) -> Key:
        """The current patchset."""
        return (CONNECTION, self.number, len(self.patchsets))

    def as_change(self, patchset: int) -> Change:
        """A patchset as the server tells it now (votes are always the current patchset's)."""
        shown = self.patchsets[patchset - 1]
        return Change(
            CONNECTION,
            self.project,
            self.branch,
            self.number,
            patchset,
            f"refs/changes/{self.number % 100:02d}/{self.number}/{patchset}",
            f"{self.number}-{patchset}",
            subject=self.subject,
            url=self.url,
            topic=self.topic,
            files=shown.files,
            open=self.status == "NEW",
            merged=self.status == "MERGED",
            current=patchset == len(self.patchsets),
            approvals=self.patchsets[-1].approvals,
        )

    def missing_labels(self) -> frozenset[str]:
        """Labels that keep it from being submitted: not at their maximum, or vetoed."""
        missing = set()
        for label, (lowest, highest) in LABELS.items():
            current = 0
            for approval in self.patchsets[-1].approvals:
                if approval.label == label and (approval.value == lowest or abs(approval.value) > abs(current)):
                    current = approval.value
            if current != highest:
                missing.add(label)
        return frozenset(missing)


@dataclass(slots=True)
class Gerrit:
    """All changes by their name in the scenario and by number."""

    repositories: Repositories
    reviews: dict[str, Review] = field(default_factory=dict)
    by_number: dict[int, Review] = field(default_factory=dict)
    refs: dict[int, str] = field(default_factory=dict)
    """`PROJECT REF` by the number of each branch or tag that was told of."""
    merged: list[tuple[Review, Commit]] = field(default_factory=list)
    """Every change that was submitted, in order, and its branch's head then."""

    def create(self, review: Review, files: Mapping[str, str] | None) -> Review:
        """Add a change with its first patchset."""
        self.reviews[review.id] = self.by_number[review.number] = review
        below = review.parent[0].patchsets[review.parent[1] - 1].commit if review.parent else None
        self.add_patchset(review, files, below)
        if review.parent:
            review.parent[0].children.append((review, 1))
        return review

    def add_patchset(self, review: Review, files: Mapping[str, str] | None, below: Commit | None = None) -> None:
        """A new patchset; it starts where the project began unless it is put on `below`. Votes are not carried over."""
        number = len(review.patchsets) + 1
        if not files:
            files = {f"{review.branch.replace('/', '_')}-{review.number}": f"test {review.branch} {review.number} {number}\n"}
        start = below or self.repositories.initial.setdefault(review.canonical, Commit("initial commit", {}))
        commit = Commit(f"{review.subject}-{number}", {**start.tree, **files}, (start,))
        review.patchsets.append(Patchset(commit, ("/COMMIT_MSG", "README", *files)))

    def vote(self, review: Review, label: str, value: int, user: str, now: datetime) -> Approval:
        """Set one user's vote on the current patchset; a new one stands last."""
        approval = Approval(label, value, user, f"{user}@example.com", now)
        patchset = review.patchsets[-1]
        others = tuple(each for each in patchset.approvals if (each.label, each.username) != (label, user))
        patchset.approvals = (*others, replace(approval))
        return approval

    def submit(self, review: Review) -> bool:
        """Merge a change if what it is on has merged and nothing refuses it."""
        if review.refused or (review.parent is not None and review.parent[0].status != "MERGED"):
            return False
        place = (review.canonical, review.branch)
        try:
            self.repositories.heads[place] = merge(self.repositories.head(place), review.patchsets[-1].commit)
        except Conflict:
            return False
        review.status = "MERGED"
        self.merged.append((review, self.repositories.heads[place]))
        return True
