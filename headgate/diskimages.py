"""Which images are built and how: the `diskimages:` of the configuration file, and the diskimage-builder command that each one is.

An image is written as in Nodepool's file (a `parent`'s elements come first, its environment lies below), with a few keys more. The file
formats are Headgate's own to make: diskimage-builder is asked for `raw` and `tar` only, all else is converted from those.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError, field_validator

from headgate.configuration.nodepool import DiskImage, inherited
from headgate.problems import Problem

DAILY = "14 14 * * *"
"""When an image is built unless it says when, in UTC."""

_SOURCES = {
    False: "it has no elements, of which one must bring an operating system, such as ci-debian; nor is it a snapshot-of a label.",
    True: "it has elements and is a snapshot-of a label; only one of both can make it.",
}
HOURLY = "14 * * * *"
"""How often an image with an age of its own is looked at."""

FORMATS = ("qcow2", "raw", "vhd", "vhd-fixed", "vmdk", "tar")
"""What can be made. `vhd` is the dynamic kind of XenServer (Rackspace), `vhd-fixed` the fixed kind of Azure; `tar` is the file tree."""

OWN_VARIABLES = frozenset({"ELEMENTS_PATH", "TMP_DIR", "DIB_IMAGE_CACHE", "DIB_LOCKFILES", "DIB_IMAGE_NAME", "DIB_IMAGE_FILENAME", "PATH"})
"""What Headgate sets itself; an image's `env-vars` may not."""


class ImageProblem(Problem):
    """An image of the configuration file is not right; one sentence."""


class ImageSettings(DiskImage):
    """`cron` is UTC; with `rebuild-age` said instead, the image is looked at every hour. `smoke-playbook` is a file that is played on a
    node of a new image before it is used. `qcow2-options` are qemu-img's.

    With `snapshot-of`, a label, it is not built: at each provider `scripts` (files) run on a node of that label, which then becomes the
    image; `env-vars` are their environment and `build-timeout` their time."""

    cron: str = ""
    smoke_playbook: str = ""
    qcow2_options: str = "compression_type=zstd"
    formats: tuple[str, ...] = Field(default=())
    snapshot_of: str = ""
    scripts: tuple[str, ...] = ()

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [each for each in value if each not in FORMATS]:
            raise ValueError(f"{unknown[0]!r} is no format; there are {', '.join(FORMATS)}")
        return value

    @field_validator("env_vars")
    @classmethod
    def _free_variables(cls, value: dict[str, str]) -> dict[str, str]:
        if taken := sorted(OWN_VARIABLES & value.keys()):
            raise ValueError(f"{taken[0]} is set by Headgate")
        return value

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        if value and len(value.split()) != 5:
            raise ValueError(f"{value!r} has not the five fields of a cron line")
        return value

    @property
    def schedule(self) -> tuple[str, bool]:
        """Its cron line, and whether it is then built only if it is old enough."""
        if self.cron:
            return self.cron, False
        return (HOURLY, True) if "rebuild_age" in self.model_fields_set else (DAILY, False)


def parse_diskimages(sections: Iterable[Mapping[str, Any]]) -> dict[str, ImageSettings]:
    """The images to build, by name, with what they inherit; abstract ones are left out. Raises `ImageProblem`."""
    read: list[ImageSettings] = []
    for number, section in enumerate(sections):
        where = f"diskimages[{number}] ({section.get('name', 'without a name')})"
        try:
            image = ImageSettings.model_validate(section)
        except ValidationError as problem:
            error = problem.errors()[0]
            key = ".".join(str(step) for step in error["loc"])
            raise ImageProblem(f"{where}: {key}: {str(error['msg']).removeprefix('Value error, ')}.") from problem
        if any(image.name == other.name for other in read):
            raise ImageProblem(f"{where}: there is another image of that name.")
        read.append(image)
    found = {}
    for image in read:
        try:
            whole = inherited(read, image.name)
        except LookupError as problem:
            raise ImageProblem(f"diskimage {image.name}: {problem.args[0]}.") from problem
        if not whole.abstract:
            if bool(whole.elements) == bool(whole.snapshot_of):
                raise ImageProblem(f"diskimage {image.name}: {_SOURCES[bool(whole.elements)]}")
            if bool(whole.scripts) != bool(whole.snapshot_of):
                raise ImageProblem(f"diskimage {image.name}: snapshot-of and scripts go together.")
            found[image.name] = whole
    return found


@dataclass(frozen=True, slots=True)
class Places:
    """Paths of one build: `target` is the image's file without its suffix."""

    target: str
    temporary: str
    cache: str
    elements: Sequence[str]


@dataclass(frozen=True, slots=True)
class Command:
    """What is run. `environment` is what the build needs besides PATH and the like."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def made_by_builder(formats: Iterable[str]) -> tuple[str, ...]:
    """What diskimage-builder itself is to make so that `formats` can be had."""
    wanted = set(formats)
    return (*(("tar",) if "tar" in wanted else ()), *(("raw",) if wanted - {"tar"} else ()))


def disk_image_create(
    image: ImageSettings, formats: Iterable[str], places: Places, extra: Mapping[str, str], debug: bool = False
) -> Command:
    """The command that builds `image`. `extra` are variables of this one build; the image's own `env-vars` win over them."""
    arguments = (
        *shlex.split(image.dib_cmd),
        *(("-x",) if debug else ()),
        *("-t", ",".join(made_by_builder(formats)), "-o", places.target),
        *image.elements,
    )
    environment = {
        "DIB_GRUB_TIMEOUT": "0",
        "DIB_SHOW_IMAGE_USAGE": "0",
        **extra,
        **image.env_vars,
        "DIB_IMAGE_NAME": image.name,
        "DIB_IMAGE_FILENAME": places.target,
        "DIB_IMAGE_CACHE": places.cache,
        "DIB_LOCKFILES": f"{places.cache}/locks",
        "TMP_DIR": places.temporary,
        "ELEMENTS_PATH": ":".join(places.elements),
    }
    if image.release is not None:
        environment["DIB_RELEASE"] = str(image.release)
    return Command(arguments, environment)
