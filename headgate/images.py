"""Which image is built now, which upload nodes start from, and what may go.

Law: an image is used only once it is proved, and is used until a newer one is. At each provider nodes of an image start from the upload
that was promoted last and is still good. Nothing bad that happens to a build or an upload takes away the one before it: of every image
each provider keeps the two uploads promoted last, the files of the two newest good builds and of the newest at all stay, and whatever a
node runs on stays until that node is gone. A bad upload is told of as long as there are files of its build. An upload whose nodes fail
soon after its promotion is withdrawn, if there is another to go back to and the fault is not the whole provider's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

KEEP = 2
"""Good builds of an image, and good uploads of it at each provider, that are kept; Nodepool's number."""

PROBATION = timedelta(hours=24)
"""After its promotion an upload may be withdrawn for that long: what fails later is hardly the image's fault."""

FAILURES = 3
"""So many nodes of an upload in a row that did not come up make it bad."""

FIRST_BUILD_BYTES = 6_000_000_000
"""Free disk that a build needs of which there is none before to compare with."""


class BuildState(StrEnum):
    """`ready` has files; `failed` never had; `deleted` has none any more."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"


class UploadState(StrEnum):
    """On its way (`uploading`, then `proving`), `ready` once proved, or bad: `failed` to get there, `refused` by its proof,
    `withdrawn` after its promotion. `deleting` goes away; then it is forgotten."""

    UPLOADING = "uploading"
    PROVING = "proving"
    READY = "ready"
    FAILED = "failed"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    DELETING = "deleting"


UNDER_WAY = frozenset({UploadState.UPLOADING, UploadState.PROVING})
BAD = frozenset({UploadState.FAILED, UploadState.REFUSED, UploadState.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class Build:
    """One build of an image. `sizes`: bytes on disk of each format there is a file of."""

    id: str
    image: str
    state: BuildState
    created: datetime
    sizes: Mapping[str, int]
    ended: datetime | None = None
    message: str = ""
    flow_run: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """One build at one provider. `promoted` is when nodes began to start from it (last, if more than once)."""

    id: str
    build: str
    image: str
    provider: str
    format: str
    state: UploadState
    created: datetime
    external_id: str = ""
    promoted: datetime | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Boot:
    """A node that was started from an upload, and whether it came up."""

    upload: str
    ended: datetime
    failed: str = ""


# ---- when to build


def why_build(
    builds: Iterable[Build], formats: Collection[str], rebuild_age: timedelta, now: datetime, *, paused: bool = False, asked: bool = False
) -> str:
    """Why a build of an image is begun now, in words; empty if it is not. `builds` are those of this image, `formats` what is wanted of
    it. What a person asked for is built whatever its age, also when the image is paused; nothing is built twice at once."""
    builds = list(builds)
    if any(build.state is BuildState.BUILDING for build in builds) or (paused and not asked):
        return ""
    if asked:
        return "asked for"
    ready = [build for build in builds if build.state is BuildState.READY]
    if not ready:
        return "there is no build of it"
    newest = max(ready, key=lambda build: build.created)
    if now - newest.created >= rebuild_age:
        return f"the newest build is {_age(now - newest.created)} old"
    if missing := sorted(set(formats) - set(newest.sizes)):
        return f"the newest build has no {', '.join(missing)}"
    return ""


def _age(age: timedelta) -> str:
    hours = int(age.total_seconds() // 3600)
    return f"{hours // 24} d {hours % 24} h" if hours >= 24 else f"{hours} h"


def needed_bytes(builds: Iterable[Build]) -> int:
    """Free disk without which no build begins: its files and as much again while they are made, judged by the largest before."""
    largest = max((sum(build.sizes.values()) for build in builds), default=0)
    return max(2 * largest, FIRST_BUILD_BYTES if not largest else 1_000_000_000)


def format_for(taken: Sequence[str], formats: Sequence[str]) -> str:
    """The format of an image for a provider that takes `taken` (the preferred first): one that the image is said to have, if any fits."""
    return next((each for each in taken if each in formats), taken[0])


# ---- which one is used


def current(uploads: Iterable[Upload], image: str, provider: str) -> Upload | None:
    """What nodes of `image` at `provider` start from now."""
    good = [each for each in _good(uploads) if (each.image, each.provider) == (image, provider)]
    return max(good, key=_promoted, default=None)


def _good(uploads: Iterable[Upload]) -> list[Upload]:
    return [upload for upload in uploads if upload.state is UploadState.READY and upload.promoted is not None]


def _promoted(upload: Upload) -> tuple[datetime, datetime, str]:
    return (upload.promoted or upload.created, upload.created, upload.id)


@dataclass(frozen=True, slots=True)
class Withdraw:
    """`upload` is not used any more, for `reason`; `instead` is."""

    upload: str
    instead: str
    reason: str


def rollbacks(uploads: Sequence[Upload], boots: Iterable[Boot], now: datetime) -> tuple[Withdraw, ...]:
    """Uploads in use that are to be withdrawn, by how the nodes started from them since their promotion came up.

    An upload that another image's failing nodes accompany is left alone: then it is the provider that fails."""
    chosen = {upload.id: upload for upload in uploads}
    latest: dict[str, list[Boot]] = {}
    for boot in sorted(boots, key=lambda boot: boot.ended):
        upload = chosen.get(boot.upload)
        if upload is not None and upload.promoted is not None and boot.ended >= upload.promoted:
            latest.setdefault(boot.upload, []).append(boot)
    failing = {name for name, ends in latest.items() if ends[-1].failed}
    found = []
    for image, provider in sorted({(upload.image, upload.provider) for upload in _good(uploads)}):
        now_used = current(uploads, image, provider)
        assert now_used is not None
        last = latest.get(now_used.id, [])[-FAILURES:]
        before = current([upload for upload in uploads if upload.id != now_used.id], image, provider)
        if len(last) < FAILURES or not all(boot.failed for boot in last) or before is None:
            continue
        others = [chosen[name] for name in failing if chosen[name].provider == provider and chosen[name].image != image]
        if others or now - (now_used.promoted or now) > PROBATION:
            continue
        reason = f"{FAILURES} nodes in a row did not come up; the last: {last[-1].failed}"
        found.append(Withdraw(now_used.id, before.id, reason))
    return tuple(found)


# ---- what may go


@dataclass(frozen=True, slots=True)
class DeleteUpload:
    upload: str


@dataclass(frozen=True, slots=True)
class DeleteFiles:
    """All files of a build."""

    build: str


@dataclass(frozen=True, slots=True)
class DropFormat:
    """One file of a build that every provider has by now."""

    build: str
    format: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What retention must know of one configured image: at which providers it is wanted in which format."""

    wanted: Mapping[str, str]
    delete_after_upload: bool = False
    keep_formats: Collection[str] = ()


def retention(
    builds: Sequence[Build], uploads: Sequence[Upload], in_use: Collection[str], policies: Mapping[str, Policy]
) -> tuple[DeleteUpload | DeleteFiles | DropFormat, ...]:
    """What is to go now. `in_use`: uploads that nodes run on; `policies`: the configured images. Repeating it after its actions are done
    finds nothing more; an upload that is going away already is told again, until it is gone."""
    kept = _kept_uploads(uploads, in_use, policies)
    bases = {upload.build for upload in uploads if upload.id in kept and upload.state is not UploadState.DELETING}
    good = _good_builds(builds, [each for each in uploads if each.image in policies and each.provider in policies[each.image].wanted])
    for image in sorted({build.image for build in builds if build.state is BuildState.READY}):
        mine = sorted((build for build in good if build.image == image), key=lambda build: build.created, reverse=True)
        newest = max(
            (build for build in builds if build.image == image and build.state is BuildState.READY), key=lambda build: build.created
        )
        bases |= {build.id for build in [*mine[:KEEP], newest]} if image in policies else set()  # a bad one is to be looked at
    told = {each.id for each in uploads if each.state in BAD and each.build in bases and each.image in policies}  # they say why
    kept |= {each.id for each in uploads if each.id in told and each.provider in policies[each.image].wanted}
    actions: list[DeleteUpload | DeleteFiles | DropFormat] = [DeleteUpload(each.id) for each in uploads if each.id not in kept]
    for build in builds:
        if build.state is not BuildState.READY:
            continue
        if build.id not in bases:
            actions.append(DeleteFiles(build.id))
        elif build.image in policies:
            actions += [DropFormat(build.id, each) for each in _superfluous(build, uploads, policies[build.image])]
    return tuple(actions)


def _kept_uploads(uploads: Sequence[Upload], in_use: Collection[str], policies: Mapping[str, Policy]) -> set[str]:
    kept = {upload.id for upload in uploads if upload.id in in_use and upload.state is not UploadState.DELETING}
    places: dict[tuple[str, str], list[Upload]] = {}
    for upload in uploads:
        if upload.image in policies and upload.provider in policies[upload.image].wanted:
            places.setdefault((upload.image, upload.provider), []).append(upload)
    for mine in places.values():
        good = sorted(_good(mine), key=_promoted, reverse=True)
        withdrawn = sorted((each for each in mine if each.state is UploadState.WITHDRAWN), key=_promoted, reverse=True)
        # a person may find that it was not the image's fault
        kept |= {upload.id for upload in [*good[:KEEP], *withdrawn[:1]]}
        kept |= {upload.id for upload in mine if upload.state in UNDER_WAY}
    return kept


def _good_builds(builds: Iterable[Build], uploads: Sequence[Upload]) -> list[Build]:
    """Builds with files that no provider found bad, or at least one found good."""
    refused = {upload.build for upload in uploads if upload.state in (UploadState.REFUSED, UploadState.WITHDRAWN)}
    proved = {upload.build for upload in _good(uploads)}
    return [build for build in builds if build.state is BuildState.READY and (build.id in proved or build.id not in refused)]


def _superfluous(build: Build, uploads: Sequence[Upload], policy: Policy) -> list[str]:
    if not policy.delete_after_upload:
        return []
    there = {upload.provider for upload in _good(uploads) if upload.build == build.id}
    waiting = {wanted for provider, wanted in policy.wanted.items() if provider not in there}
    used = set(policy.wanted.values())
    return sorted(each for each in build.sizes if each in used and each not in waiting and each not in policy.keep_formats)
