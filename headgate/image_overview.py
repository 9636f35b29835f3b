"""What there is of every image, put together for people: its builds, their uploads, which of them are used and by how many nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from headgate.diskimages import ImageSettings
from headgate.images import Build, Upload, current


@dataclass(frozen=True, slots=True)
class UploadOverview:
    """`used`: nodes start from it now. `nodes`: how many run on it."""

    upload: Upload
    used: bool
    nodes: int


@dataclass(frozen=True, slots=True)
class BuildOverview:
    build: Build
    uploads: tuple[UploadOverview, ...]

    @property
    def size(self) -> int:
        """Bytes on disk of all its files."""
        return sum(self.build.sizes.values())


@dataclass(frozen=True, slots=True)
class ImageOverview:
    """`schedule` says when it is built, in words; builds are in the order they began."""

    name: str
    schedule: str
    paused: bool
    builds: tuple[BuildOverview, ...]


def overview(
    images: Mapping[str, ImageSettings],
    builds: Iterable[Build],
    uploads: Iterable[Upload],
    users: Mapping[str, int],
    paused: Collection[str],
) -> tuple[ImageOverview, ...]:
    """Every configured image and every other one of which there still is a build, by name. `users`: nodes by upload."""
    builds, uploads = list(builds), list(uploads)
    found = []
    for name in sorted({*images, *(build.image for build in builds)}):
        mine = (build for build in builds if build.image == name)
        shown = tuple(
            BuildOverview(build, tuple(_upload(each, uploads, users) for each in uploads if each.build == build.id)) for build in mine
        )
        stopped = name in paused or (name in images and images[name].pause)
        found.append(ImageOverview(name, _schedule(images.get(name)), stopped, shown))
    return tuple(found)


def _upload(upload: Upload, uploads: Iterable[Upload], users: Mapping[str, int]) -> UploadOverview:
    return UploadOverview(upload, current(uploads, upload.image, upload.provider) == upload, users.get(upload.id, 0))


def _schedule(image: ImageSettings | None) -> str:
    if image is None:
        return "no longer configured"
    cron, if_due = image.schedule
    return f"when it is {_hours(image.rebuild_age)} old" if if_due else f"{cron} UTC"


def _hours(seconds: int) -> str:
    return f"{seconds // 86400} d" if seconds % 86400 == 0 else f"{seconds / 3600:g} h"
