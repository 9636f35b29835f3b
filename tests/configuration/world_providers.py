"""Made-up images, flavors, labels, sections and providers."""

from __future__ import annotations

from typing import Any

from tests.configuration.world_values import Known, Makers, some_of

LABELS = ("label1", "label2", "label3")


def provider_objects(names: Known) -> list[Any]:
    """A set of them that mostly fits together, for a config-project."""
    rng, choice = names.rng, names.rng.choice
    found: list[Any] = [
        {"image": {"name": "image1", "type": "zuul", **some_of(rng, _image(names), 0.2)}},
        {"image": {"name": "image2", "type": "cloud"}},
        {"flavor": {"name": "flavor1"}},
        *(
            {"label": {"name": name, "image": choice(["image1", "image2"]), "flavor": "flavor1", **some_of(rng, _label(names), 0.1)}}
            for name in LABELS
        ),
        {"section": {"name": "cloud", "connection": "openstack", "abstract": True, **some_of(rng, _section(names), 0.3)}},
        {"section": {"name": "region", "parent": "cloud", "region": "one", **some_of(rng, _section(names), 0.1)}},
        {"provider": {"name": "main", "section": choice(["cloud", "region", "region"]), "labels": _labels(names)}},
    ]
    found = [each for each in found if rng.random() < 0.97]
    if rng.random() < 0.1:
        rng.shuffle(found)
    return found


def provider_object(names: Known) -> Any:
    """One more, which may repeat or contradict another."""
    rng, choice = names.rng, names.rng.choice
    return choice(
        [
            {"image": {"name": choice(["image1", "image3"]), "type": choice(["zuul", "cloud"])}},
            {"flavor": {"name": choice(["flavor1", "flavor2"])}},
            {"label": {"name": choice([*LABELS, "label4"]), "image": choice(["image1", "nope"]), "flavor": choice(["flavor1", "nope"])}},
            {
                "section": {
                    "name": choice(["cloud", "more"]),
                    "parent": choice(["cloud", "nope", "more"]),
                    **some_of(rng, _section(names), 0.2),
                }
            },
            {
                "section": {
                    "name": "more",
                    "connection": choice(["openstack", "aws", "static", "nope"]),
                    **some_of(rng, _section(names), 0.2),
                }
            },
            {
                "provider": {
                    "name": choice(["main", "spare"]),
                    "section": choice(["cloud", "region", "more", "nope"]),
                    "labels": _labels(names),
                }
            },
        ]
    )


def _labels(names: Known) -> Any:
    rng = names.rng
    wanted = rng.sample(LABELS, rng.choice([1, 2, 3]))
    return [rng.choice([{"name": name}, {"name": name}, name, {"name": name, **some_of(rng, _label(names), 0.15)}]) for name in wanted]


def _image(names: Known) -> Makers:
    return {"retain-count": lambda: names.rng.choice([1, 2, 3]), "max-retain-count": lambda: names.rng.choice([1, 4])}


def _label(names: Known) -> Makers:
    choice = names.rng.choice
    return {
        "min-ready": lambda: choice([0, 1]),
        "max-ready-age": lambda: 600,
        "max-age": lambda: 60,
        "aliases": lambda: choice([["label1"], ["label2", "nope"]]),
        "boot-timeout": lambda: choice([60, 61]),
        "key-name": lambda: "zuul",
        "host-key-checking": lambda: choice([True, False]),
        "tags": lambda: {"a": choice("xy")},
    }


def _section(names: Known) -> Makers:
    rng, choice = names.rng, names.rng.choice
    return {
        "connection": lambda: choice(["openstack", "openstack", "aws"]),
        "region": lambda: "one",
        "launch-timeout": lambda: choice([60, 600]),
        "launch-attempts": lambda: choice([1, 2]),
        "resource-limits": lambda: {"instances": choice([1, 10])},
        "images": lambda: [{"name": "image1", **some_of(rng, _image(names), 0.2)}, choice(["image2", {"name": "image2", "image-id": "x"}])],
        "flavors": lambda: [{"name": "flavor1", "flavor-name": choice(["m1", "m2"])}],
        "labels": lambda: _labels(names),
        "label-defaults": lambda: some_of(rng, _label(names), 0.3),
        "image-defaults": lambda: choice([{}, {"username": "root"}, {"import-timeout": 5}]),
        "flavor-defaults": lambda: choice([{}, {"public-ipv4": True}]),
        "abstract": lambda: choice([True, False]),
        "final": lambda: choice([True, False, False]),
        "description": lambda: "described",
    }
