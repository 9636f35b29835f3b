"""The small objects: secret, semaphore, queue, pragma, and the provider objects (image, flavor, label, section, provider)."""

from __future__ import annotations

from typing import Any

from headgate.configuration import about
from headgate.configuration.definitions import Pragma, Queue, Secret
from headgate.configuration.parse_regexes import regexes
from headgate.configuration.provider_definitions import Flavor, Image, Label, Provider, Section
from headgate.configuration.regex_shape import REGEX
from headgate.configuration.shapes import (
    ANYTHING,
    FLAG,
    MAPPING,
    NOTHING,
    TEXT,
    WHOLE,
    AtLeast,
    Choice,
    Either,
    ListOf,
    Record,
    one_or_many,
)
from headgate.configuration.stanza import Complaints, Wrong
from headgate.configuration.tenant_values import Semaphore, as_list

OIDC_ALGORITHMS = ("RS256",)
_OIDC = Either(Record({"algorithm": TEXT, "ttl": WHOLE, "iss": TEXT, "claims": MAPPING}), NOTHING)
SECRET = Record({"name": TEXT, "data": MAPPING, "oidc": _OIDC}, required=("name",), about=about.SECRET)
SEMAPHORE = Record({"name": TEXT, "max": WHOLE}, required=("name",), about=about.SEMAPHORE)
QUEUE = Record(
    {
        "name": TEXT,
        "per-branch": FLAG,
        "allow-circular-dependencies": FLAG,
        "dependencies-by-topic": FLAG,
        "type": Choice("all-branches", "per-branch", "branch-assigned"),
    },
    required=("name",),
    about=about.QUEUE,
)
PRAGMA = Record({"implied-branch-matchers": FLAG, "implied-branches": one_or_many(REGEX)}, about=about.PRAGMA)
IMAGE = Record(
    {"name": TEXT, "type": Choice("zuul", "cloud"), "description": TEXT, "retain-count": AtLeast(1), "max-retain-count": AtLeast(1)},
    required=("name", "type"),
    about=about.IMAGE,
)
FLAVOR = Record({"name": TEXT, "description": TEXT}, required=("name",), about=about.FLAVOR)
LABEL = Record(
    {
        "name": TEXT,
        "image": TEXT,
        "flavor": TEXT,
        "description": TEXT,
        "min-ready": WHOLE,
        "max-ready-age": WHOLE,
        "max-age": WHOLE,
        "min-retention-time": WHOLE,
        "max-nodes": WHOLE,
        "aliases": one_or_many(TEXT),
    },
    required=("name", "image", "flavor"),
    about=about.LABEL,
)
_ENTRIES = ListOf(Either(TEXT, MAPPING))
SECTION = Record(
    {
        "name": TEXT,
        "parent": TEXT,
        "abstract": FLAG,
        "connection": TEXT,
        "description": TEXT,
        "images": _ENTRIES,
        "flavors": _ENTRIES,
        "labels": _ENTRIES,
    },
    required=("name",),
    rest=ANYTHING,
    about=about.SECTION,
)
PROVIDER = Record(
    {"name": TEXT, "section": TEXT, "description": TEXT, "images": _ENTRIES, "labels": _ENTRIES},
    required=("name", "section"),
    rest=ANYTHING,
    about=about.PROVIDER,
)


def secret(conf: dict[str, Any], complaints: Complaints) -> Secret:
    if ("data" in conf) == ("oidc" in conf):
        raise Wrong("exactly one of data and oidc is required")
    if "data" in conf:
        return Secret(conf["name"], conf["data"])
    oidc = dict(conf["oidc"] or {})
    if oidc.get("algorithm") and oidc["algorithm"] not in OIDC_ALGORITHMS:
        raise Wrong(
            f'the algorithm "{oidc["algorithm"]}" is not supported; allowed are {", ".join(OIDC_ALGORITHMS)}', ("oidc", "algorithm")
        )
    return Secret(conf["name"], None, {"algorithm": OIDC_ALGORITHMS[0], **oidc})


def semaphore(conf: dict[str, Any], complaints: Complaints) -> Semaphore:
    return Semaphore(conf["name"], conf.get("max", 1))


def queue(conf: dict[str, Any], complaints: Complaints) -> Queue:
    if "type" in conf and "per-branch" in conf:
        raise Wrong("per-branch and type exclude each other: keep type", ("per-branch",))
    kind = "per-branch" if conf.get("per-branch") else conf.get("type", "all-branches")
    made = Queue(conf["name"], kind, conf.get("allow-circular-dependencies", False), conf.get("dependencies-by-topic", False))
    if made.dependencies_by_topic and not made.allow_circular_dependencies:
        raise Wrong("dependencies-by-topic needs allow-circular-dependencies: true", ("dependencies-by-topic",))
    return made


def pragma(conf: dict[str, Any], before: Pragma, complaints: Complaints) -> Pragma:
    """What holds in the file after this pragma, `before` being what held before it."""
    matchers = conf.get("implied-branch-matchers", before.implied_matchers)
    branches = before.implied_branches
    if "implied-branches" in conf:
        branches = regexes(as_list(conf["implied-branches"]), ("implied-branches",), complaints)
    return Pragma(matchers, branches, True)


def image(conf: dict[str, Any], complaints: Complaints) -> Image:
    return Image(conf["name"], conf["type"], conf.get("description"), conf.get("retain-count", 2), conf.get("max-retain-count"))


def flavor(conf: dict[str, Any], complaints: Complaints) -> Flavor:
    return Flavor(conf["name"], conf.get("description"))


def label(conf: dict[str, Any], complaints: Complaints) -> Label:
    return Label(
        conf["name"],
        conf["image"],
        conf["flavor"],
        conf.get("description"),
        conf.get("min-ready"),
        conf.get("max-ready-age"),
        conf.get("max-age"),
        conf.get("max-nodes"),
        conf.get("min-retention-time"),
        tuple(as_list(conf.get("aliases"))),
    )


def section(conf: dict[str, Any], complaints: Complaints) -> Section:
    return Section(conf["name"], conf.get("parent"), conf.get("abstract"), conf.get("connection"), conf.get("description"), conf)


def provider(conf: dict[str, Any], complaints: Complaints) -> Provider:
    if "flavors" in conf:
        raise Wrong("flavors may be given in a section only, not in a provider", ("flavors",))
    return Provider(conf["name"], conf["section"], conf.get("description"), conf)
