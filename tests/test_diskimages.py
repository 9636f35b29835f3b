"""Images of the configuration file, the command that each becomes, and what diskimage-builder's output tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.diskimages import ImageProblem, Places, disk_image_create, made_by_builder, parse_diskimages
from headgate.image_log import PHASES, BuildLog
from headgate.manifests import Manifest, differences, from_text, read_manifest, to_text

SECTIONS = [
    {"name": "base", "abstract": True, "elements": ["vm", "ci-node"], "env-vars": {"A": "1", "B": "1"}, "rebuild-age": 604800},
    {"name": "debian", "parent": "base", "elements": ["ci-debian"], "env-vars": {"B": "2"}, "release": "bookworm", "formats": ["qcow2"]},
    {"name": "nightly", "elements": ["ci-debian"], "cron": "0 3 * * *"},
    {"name": "plain", "elements": ["ci-debian"]},
]
PLACES = Places("/images/debian-1", "/images/tmp/1", "/images/cache", ("/mine", "/ours"))


def test_images_inherit_and_abstract_ones_are_not_built() -> None:
    images = parse_diskimages(SECTIONS)
    assert set(images) == {"debian", "nightly", "plain"}
    assert images["debian"].elements == ("vm", "ci-node", "ci-debian")
    assert images["debian"].env_vars == {"A": "1", "B": "2"}


def test_an_image_is_built_by_its_cron_or_when_it_is_old_or_daily() -> None:
    images = parse_diskimages(SECTIONS)
    assert images["nightly"].schedule == ("0 3 * * *", False)
    assert images["debian"].schedule == ("14 * * * *", True)
    assert images["plain"].schedule == ("14 14 * * *", False)


def test_the_command_is_that_of_nodepool_with_formats_of_our_own() -> None:
    command = disk_image_create(parse_diskimages(SECTIONS)["debian"], ("qcow2", "tar"), PLACES, {"B": "3", "C": "3"})
    assert command.arguments == ("disk-image-create", "-t", "tar,raw", "-o", "/images/debian-1", "vm", "ci-node", "ci-debian")
    said = {"A": "1", "B": "2", "C": "3", "DIB_RELEASE": "bookworm", "ELEMENTS_PATH": "/mine:/ours", "TMP_DIR": "/images/tmp/1"}
    assert said.items() <= command.environment.items()


@pytest.mark.parametrize(
    ("formats", "made"), [(("qcow2",), ("raw",)), (("tar",), ("tar",)), (("vhd", "tar"), ("tar", "raw")), (("raw",), ("raw",))]
)
def test_the_builder_makes_what_others_are_made_of(formats: tuple[str, ...], made: tuple[str, ...]) -> None:
    assert made_by_builder(formats) == made


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"name": "x", "elements": ["a"], "formats": ["qcow"]}, "diskimages[0] (x): formats: 'qcow' is no format; there are qcow2"),
        ({"name": "x", "elements": ["a"], "cron": "daily"}, "'daily' has not the five fields of a cron line"),
        ({"name": "x"}, "diskimage x: it has no elements"),
        ({"name": "x", "elements": ["vm"], "snapshot-of": "small"}, "diskimage x: it has elements and is a snapshot-of a label"),
        ({"name": "x", "snapshot-of": "small"}, "diskimage x: snapshot-of and scripts go together"),
        ({"name": "x", "parent": "y"}, 'diskimage x: no disk image "y"'),
        ({"name": "x", "elements": ["a"], "env-vars": {"TMP_DIR": "/"}}, "TMP_DIR is set by Headgate"),
        ({"elements": ["a"]}, "diskimages[0] (without a name): name"),
    ],
)
def test_what_is_wrong_with_an_image_is_said(section: dict[str, object], sentence: str) -> None:
    with pytest.raises(ImageProblem) as problem:
        parse_diskimages([section])
    assert sentence in str(problem.value)


LINES = """\
2026-11-22 09:44:22.640 | Running hooks from /x/dib_build.X/hooks/root.d
2026-11-22 09:44:22.719 | dib-run-parts Running /x/dib_build.X/hooks/root.d/08-debootstrap
2026-11-22 09:44:24.419 | dib-run-parts Running /x/dib_build.X/hooks/root.d/75-ci-debian
2026-11-22 09:44:47.393 | dib-run-parts Running /tmp/in_target.d/install.d/20-mine
2026-11-22 09:44:47.400 | + apt-get install nothing-like-it
2026-11-22 09:44:47.500 | E: Unable to locate package nothing-like-it
2026-11-22 09:44:48.000 | Unmount /x/dib_build.X/mnt/sys
""".splitlines()


def test_phases_are_told_once_each() -> None:
    log = BuildLog()
    assert [log.phase for line in LINES if log.feed(line)] == ["root.d", "install.d"]
    assert log.percent == PHASES["install.d"]


def test_a_failure_names_the_element_s_script_and_what_it_said() -> None:
    log = BuildLog()
    for line in LINES:
        log.feed(line)
    assert log.failure(100) == "install.d/20-mine failed with exit code 100: E: Unable to locate package nothing-like-it"


def test_a_failure_before_any_script_is_told_too() -> None:
    log = BuildLog()
    log.feed("2026-11-22 09:44:22.640 | ERROR: Element 'nothing' not found")
    assert log.failure(1) == "diskimage-builder failed with exit code 1: ERROR: Element 'nothing' not found"


PACKAGES = json.dumps({"packages": [{"package": "git", "version": "2.39", "arch": "amd64"}, {"package": "sudo", "version": "1.9"}]})
FILES = {"dib-manifest-dpkg-x": PACKAGES, "dib-manifest-git-repositories": "review/nova /opt/git/review/nova - abc\n"}


def test_a_manifest_is_what_is_in_the_image() -> None:
    manifest = read_manifest(FILES)
    assert manifest == Manifest({"git": "2.39", "sudo": "1.9"}, {"review/nova": "abc"})
    assert from_text(to_text(manifest)) == manifest


def test_a_broken_manifest_breaks_nothing() -> None:
    assert read_manifest({"dib-manifest-dpkg-x": "{", "dib-manifest-git-y": "one\n"}) == Manifest()


def test_the_difference_of_two_builds_is_a_table() -> None:
    before = read_manifest(FILES)
    after = Manifest({"git": "2.40", "rsync": "3"}, before.repositories)
    told = differences(before, after)
    assert "Packages: 3 of 2 changed" in told
    assert "| `git` | 2.39 | 2.40 |" in told and "| `rsync` |  | 3 |" in told and "| `sudo` | 1.9 |  |" in told
    assert "Repositories" not in told
    assert differences(before, before) == "Nothing changed: 2 packages, 1 repositories.\n"
    assert differences(None, before).startswith("The first build: 2 packages")


ELEMENTS = Path(__file__).parent.parent / "elements"


@pytest.mark.parametrize("script", sorted(path for path in ELEMENTS.glob("*/*.d/*") if path.suffix != ".bash"), ids=lambda path: path.name)
def test_every_script_of_an_element_can_be_run_and_stops_at_an_error(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n") and "\nset -eu -o pipefail\n" in text
