"""The shapes of what a job, or a variant of one, may say."""

from __future__ import annotations

from headgate.configuration import about
from headgate.configuration.regex_shape import REGEX
from headgate.configuration.shapes import (
    ANYTHING,
    FLAG,
    NOTHING,
    NUMBER_OR_TEXT,
    TEXT,
    WHOLE,
    Choice,
    Either,
    MappingOf,
    Named,
    Overridable,
    Record,
    Shape,
    one_or_many,
)
from headgate.configuration.variable_names import VARIABLE_PATTERN, variable_fault

UNSAFE_HOME_PATHS = (".ssh/config", ".kube/config")
CONTROLLABLE = [
    "requires",
    "provides",
    "tags",
    "files",
    "irrelevant-files",
    "required-projects",
    "include-projects",
    "exclude-projects",
    "vars",
    "extra-vars",
    "host-vars",
    "group-vars",
    "include-vars",
    "dependencies",
    "failure-output",
    "type",
    "pre-run",
    "run",
    "post-run",
    "voting",
]
VARIABLE = Named("a variable name", variable_fault, VARIABLE_PATTERN)
VARIABLES = MappingOf(ANYTHING, variable_fault, "a mapping of variables", VARIABLE_PATTERN)
VARIABLES_BY_HOST = MappingOf(VARIABLES, called="a mapping from a name to its variables")
_ROLE = Either(Record({"zuul": TEXT, "name": TEXT}, required=("zuul",)), Record({"galaxy": TEXT, "name": TEXT}, required=("galaxy",)))
_PROJECT = Record({"name": TEXT, "override-branch": TEXT, "override-checkout": TEXT}, required=("name",))
_SELECTED_PROJECT = Either(TEXT, Record({"type": Choice("name", "change", "item"), "name": TEXT}))
_DEPENDENCY = Record({"name": TEXT, "soft": FLAG}, required=("name",))
_SECRET = Record({"name": VARIABLE, "secret": TEXT, "pass-to-parent": FLAG}, required=("name", "secret"))
_SEMAPHORE = Record({"name": TEXT, "resources-first": FLAG}, required=("name",))
_PLAYBOOK = Record({"name": TEXT, "semaphores": one_or_many(TEXT)}, required=("name",))
_POST_PLAYBOOK = Record({"name": TEXT, "semaphores": one_or_many(TEXT), "cleanup": FLAG}, required=("name",))
_INCLUDE_VARS = Either(
    TEXT,
    Record({"name": TEXT, "project": TEXT, "required": FLAG}, required=("name",)),
    Record({"name": TEXT, "zuul-project": FLAG, "use-ref": FLAG, "required": FLAG}, required=("name",)),
)
_PLAYBOOKS = one_or_many(Either(TEXT, _PLAYBOOK))

JOB_ATTRIBUTES: dict[str, Shape] = {
    "parent": Either(TEXT, NOTHING),
    "final": FLAG,
    "abstract": FLAG,
    "protected": FLAG,
    "intermediate": FLAG,
    "requires": Overridable(one_or_many(TEXT)),
    "provides": Overridable(one_or_many(TEXT)),
    "tags": Overridable(one_or_many(TEXT)),
    "failure-message": TEXT,
    "success-message": TEXT,
    "failure-url": TEXT,
    "success-url": TEXT,
    "hold-following-changes": FLAG,
    "voting": FLAG,
    "semaphore": Either(TEXT, _SEMAPHORE),
    "semaphores": one_or_many(Either(TEXT, _SEMAPHORE)),
    "branches": one_or_many(REGEX),
    "files": Overridable(one_or_many(REGEX)),
    "irrelevant-files": Overridable(one_or_many(REGEX)),
    "secrets": one_or_many(Either(TEXT, _SECRET)),
    "nodeset": Either(TEXT, MappingOf(ANYTHING, lambda key: "", called="a mapping")),
    "pre-timeout": WHOLE,
    "timeout": WHOLE,
    "post-timeout": WHOLE,
    "attempts": WHOLE,
    "pre-run": _PLAYBOOKS,
    "post-run": one_or_many(Either(TEXT, _POST_PLAYBOOK)),
    "run": _PLAYBOOKS,
    "cleanup-run": _PLAYBOOKS,
    "ansible-split-streams": FLAG,
    "ansible-version": NUMBER_OR_TEXT,
    "roles": one_or_many(_ROLE),
    "required-projects": Overridable(one_or_many(Either(TEXT, _PROJECT))),
    "include-projects": Overridable(one_or_many(_SELECTED_PROJECT)),
    "exclude-projects": Overridable(one_or_many(_SELECTED_PROJECT)),
    "vars": Overridable(VARIABLES),
    "extra-vars": Overridable(VARIABLES),
    "host-vars": Overridable(VARIABLES_BY_HOST),
    "group-vars": Overridable(VARIABLES_BY_HOST),
    "include-vars": Overridable(one_or_many(_INCLUDE_VARS)),
    "dependencies": Overridable(one_or_many(Either(TEXT, _DEPENDENCY))),
    "allowed-projects": one_or_many(TEXT),
    "override-branch": TEXT,
    "override-checkout": TEXT,
    "description": TEXT,
    "variant-description": TEXT,
    "post-review": FLAG,
    "match-on-config-updates": FLAG,
    "workspace-scheme": Choice("golang", "flat", "unique"),
    "workspace-checkout": Either(FLAG, Choice("auto")),
    "deduplicate": Either(FLAG, Choice("auto")),
    "failure-output": Overridable(one_or_many(TEXT)),
    "image-build-name": TEXT,
    "type": Choice("regular", "initializer", "reporter"),
    "preserve-home-paths": one_or_many(TEXT),
    "secret-exposure": Choice("ignore", "redact", "fail"),
    "attribute-control": Record({name: Record({"final": Choice(True)}) for name in CONTROLLABLE}),
}
JOB = Record({"name": TEXT, **JOB_ATTRIBUTES}, required=("name",), about=about.JOB)
VARIANT = Record(JOB_ATTRIBUTES, about=about.VARIANT)
