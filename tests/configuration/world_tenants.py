"""Made-up tenant files: attributes of tenants, how projects are listed, groups, and a second connection."""

from __future__ import annotations

import random
from typing import Any

from headgate.configuration.tenant_values import JOB_KINDS, PROVIDER_KINDS
from tests.configuration.world_values import Known, Makers, one_or_many, some_of

KINDS = [*JOB_KINDS, *PROVIDER_KINDS]


def tenant_attributes(names: Known) -> Makers:
    rng, choice = names.rng, names.rng.choice
    return {
        "max-nodes-per-job": lambda: choice([2, 6, -1]),
        "max-job-timeout": lambda: choice([5000, -1, 20000]),
        "default-parent": lambda: choice(["base", "abstract-base", "nope"]),
        "allowed-labels": lambda: one_or_many(rng, lambda: choice(["label1", "^label[12]$", ".*"])),
        "disallowed-labels": lambda: choice(["label3", ["^label2"]]),
        "allowed-triggers": lambda: choice(["gerrit", ["gerrit", "timer"], ["timer"]]),
        "allowed-reporters": lambda: choice(["gerrit", ["smtp"]]),
        "exclude-unprotected-branches": lambda: choice([True, False]),
        "exclude-locked-branches": lambda: choice([True, False]),
        "use-nodepool": lambda: choice([True, False]),
        "default-ansible-version": lambda: choice(["9", 11]),
        "max-dependencies": lambda: 5,
        "max-changes-per-pipeline": lambda: 5,
        "max-oidc-ttl": lambda: choice([100, 20000]),
        "allowed-oidc-issuers": lambda: ["https://one.example.com"],
        "web-root": lambda: "https://zuul.example.com",
        "authentication-realm": lambda: "example.com",
        "anonymous-read-access": lambda: choice([True, False]),
    }


def listed(rng: random.Random, project: str, names: Known, trusted: bool) -> Any:
    """An entry of the tenant file."""
    choice = rng.choice
    makers: Makers = {
        "include": lambda: rng.sample(KINDS, choice([6, 6, 3, 0])),
        "exclude": lambda: one_or_many(rng, lambda: choice(KINDS)),
        "shadow": lambda: one_or_many(rng, lambda: choice(names.projects)),
        "load-branch": lambda: choice(["stable", "devel", "master"]),
        "extra-config-paths": lambda: choice(["extra.yaml", ["extra.yaml", "extra.d/"], ["extra.d/", "other.yaml"]]),
        "include-branches": lambda: one_or_many(rng, lambda: choice(["master", "stable", "^(master|devel)$", "sta"])),
        "exclude-branches": lambda: one_or_many(rng, lambda: choice(["stable", "^dev.*", "mas", "master"])),
        "always-dynamic-branches": lambda: choice(["stable", ["stable"], ["^dev.*"], ["stable", "devel"]]),
        "implied-branch-matchers": lambda: choice([True, False]),
        "exclude-unprotected-branches": lambda: choice([True, False]),
        "include-provider-config": lambda: choice([True, True, False]),
        **({"allow-base-jobs": lambda: choice([True, False])} if trusted else {"allow-reporter-jobs": lambda: True}),
        **({} if trusted else {"configure-projects": lambda: one_or_many(rng, lambda: choice(["org/project1", "^org/.*", "org/p"]))}),
    }
    settings = some_of(rng, makers, 0.03)
    return {project: settings} if settings else project


def grouped(rng: random.Random, entries: list[Any]) -> list[Any]:
    """Some neighbours of a list of projects as a group with settings of their own."""
    if not entries or rng.random() > 0.12:
        return entries
    cut = rng.randrange(len(entries))
    group: dict[str, Any] = {"projects": entries[cut:]}
    makers: Makers = {
        "include": lambda: rng.sample(KINDS, 7),
        "exclude": lambda: one_or_many(rng, lambda: rng.choice(KINDS)),
        "include-provider-config": lambda: rng.choice([True, True, False]),
    }
    while len(group) == 1:
        group |= some_of(rng, makers, 0.4)
    return [*entries[:cut], group]


def source(rng: random.Random, names: Known, config: list[str], untrusted: list[str]) -> dict[str, Any]:
    """Where a tenant's projects come from. A second connection may have a project of a name that the first has too."""
    found: dict[str, Any] = {
        "gerrit": {
            "config-projects": grouped(rng, [listed(rng, each, names, True) for each in config]),
            "untrusted-projects": grouped(rng, [listed(rng, each, names, False) for each in untrusted]),
        }
    }
    if rng.random() < 0.08:
        found["github"] = {"untrusted-projects": [listed(rng, rng.choice([*untrusted, "org/elsewhere"]), names, False)]}
    return found
