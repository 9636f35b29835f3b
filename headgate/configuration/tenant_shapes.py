"""The shapes of what may stand in a tenant file."""

from __future__ import annotations

from typing import Any

from headgate.configuration import about_pipelines as about
from headgate.configuration.about import SEMAPHORE
from headgate.configuration.document_values import kind_of
from headgate.configuration.shapes import (
    FLAG,
    MAPPING,
    NUMBER_OR_TEXT,
    TEXT,
    WHOLE,
    Choice,
    Either,
    Fault,
    ListOf,
    MappingOf,
    Record,
    Shape,
    one_or_many,
)
from headgate.configuration.tenant_values import JOB_KINDS, PROVIDER_KINDS


class _ExtraPath(Shape):
    called = "a path other than the default ones"

    def ok(self, value: Any) -> bool:
        return isinstance(value, str) and value not in ("zuul.yaml", "zuul.d/", ".zuul.yaml", ".zuul.d/")

    def fault(self, value: Any) -> Fault:
        return Fault((), f"must be {self.called}, found {kind_of(value)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


_KIND = Choice(*JOB_KINDS, *PROVIDER_KINDS)
_PROJECT_KEYS: dict[str, Shape] = {
    "include": one_or_many(_KIND),
    "exclude": one_or_many(_KIND),
    "shadow": one_or_many(TEXT),
    "include-provider-config": FLAG,
    "exclude-unprotected-branches": FLAG,
    "exclude-locked-branches": FLAG,
    "extra-config-paths": one_or_many(_ExtraPath()),
    "load-branch": TEXT,
    "include-branches": one_or_many(TEXT),
    "exclude-branches": one_or_many(TEXT),
    "always-dynamic-branches": one_or_many(TEXT),
    "allow-circular-dependencies": FLAG,
    "implied-branch-matchers": FLAG,
}
_GROUP_KEYS: dict[str, Shape] = {"include": one_or_many(_KIND), "exclude": one_or_many(_KIND), "include-provider-config": FLAG}


def _project_shape(more: dict[str, Shape]) -> Shape:
    one = Either(
        TEXT,
        MappingOf(Record({**_PROJECT_KEYS, **more}, about=about.TENANT_PROJECT), called="a mapping from a project's name to its settings"),
    )
    one.called = "a project's name, or a mapping from it to its settings"
    group = Record(
        {**_GROUP_KEYS, "projects": one_or_many(one)}, required=("projects",), called="a group of projects", about=about.TENANT_PROJECT
    )
    return one_or_many(Either(one, group))


_SOURCE = Record(
    {
        "config-projects": _project_shape({"allow-base-jobs": FLAG}),
        "untrusted-projects": _project_shape({"configure-projects": one_or_many(TEXT), "allow-reporter-jobs": FLAG}),
    },
    called="a mapping with config-projects and untrusted-projects",
)
_ROLE_MAPPINGS = MappingOf(one_or_many(TEXT))
TENANT = Record(
    {
        "name": TEXT,
        "max-changes-per-pipeline": WHOLE,
        "max-dependencies": WHOLE,
        "max-nodes-per-job": WHOLE,
        "max-job-timeout": WHOLE,
        "max-oidc-ttl": WHOLE,
        "allowed-oidc-issuers": one_or_many(TEXT),
        "source": MappingOf(_SOURCE, called="a mapping from a connection to its projects"),
        "exclude-unprotected-branches": FLAG,
        "exclude-locked-branches": FLAG,
        "allowed-triggers": one_or_many(TEXT),
        "allowed-reporters": one_or_many(TEXT),
        "allowed-labels": one_or_many(TEXT),
        "disallowed-labels": one_or_many(TEXT),
        "allow-circular-dependencies": FLAG,
        "default-parent": TEXT,
        "default-ansible-version": NUMBER_OR_TEXT,
        "access-rules": one_or_many(TEXT),
        "admin-rules": one_or_many(TEXT),
        "anonymous-read-access": FLAG,
        "role-mappings": _ROLE_MAPPINGS,
        "semaphores": one_or_many(TEXT),
        "authentication-realm": TEXT,
        "report-build-page": FLAG,
        "use-nodepool": FLAG,
        "web-root": TEXT,
    },
    required=("name",),
    about=about.TENANT,
)
_CONDITIONAL = Either(FLAG, Record({"conditions": Record({"project": TEXT, "ref": TEXT})}))
PERMISSIONS = Record(
    {
        **dict.fromkeys(
            (
                "read",
                "promote",
                "set-tenant-state",
                "build-image",
                "upload-image",
                "delete-image-build-artifact",
                "delete-image-upload",
                "validate-image-upload",
                "modify-node",
                "modify-nodeset-request",
                "autohold",
            ),
            FLAG,
        ),
        "dequeue": _CONDITIONAL,
        "enqueue": _CONDITIONAL,
    }
)
TENANT_FILE_ITEMS: dict[str, Shape] = {
    "tenant": TENANT,
    "authorization-rule": Record({"name": TEXT, "conditions": one_or_many(MAPPING)}, required=("name", "conditions"), about=about.RULE),
    "admin-rule": Record({"name": TEXT, "conditions": one_or_many(MAPPING)}, required=("name", "conditions"), about=about.RULE),
    "role": Record({"name": TEXT, "permissions": PERMISSIONS}, required=("name", "permissions"), about=about.ROLE),
    "global-semaphore": Record({"name": TEXT, "max": WHOLE}, required=("name",), about=SEMAPHORE),
    "api-root": Record(
        {
            "authentication-realm": TEXT,
            "access-rules": one_or_many(TEXT),
            "anonymous-read-access": FLAG,
            "role-mappings": _ROLE_MAPPINGS,
        },
        about=about.API_ROOT,
    ),
}
TENANT_FILE = ListOf(Record(TENANT_FILE_ITEMS))
