"""What each attribute means, in a sentence: shown by editors (`headgate schema`) beside the key."""

from __future__ import annotations

Meanings = dict[str, str]
_NAME = "Its name."
_DESCRIPTION = "What it is for, in words; reStructuredText is common."

JOB: Meanings = {
    "name": "The job's name. Several definitions of one name in a project are its variants.",
    "parent": "The job whose attributes this one starts from; null makes it a base job, which only a config-project may define.",
    "final": "No other definition may change how this job runs.",
    "abstract": "It cannot run itself, only be inherited from.",
    "protected": "Only its own project may inherit from it or vary it.",
    "intermediate": "Only an abstract job may inherit from it; it must be abstract too.",
    "requires": "Artifacts it needs: it waits for jobs of changes ahead that provide them.",
    "provides": "Artifacts it makes, for jobs of changes behind that require them.",
    "tags": "Words that playbooks see as zuul.jobtags.",
    "failure-message": "What a report says instead of FAILURE.",
    "success-message": "What a report says instead of SUCCESS.",
    "failure-url": "Accepted and ignored.",
    "success-url": "Accepted and ignored.",
    "hold-following-changes": "In a dependent pipeline, changes behind start no job before this one has succeeded.",
    "voting": "Does its result count? One that does not vote is reported and ignored.",
    "semaphore": "One semaphore it holds while it runs; semaphores is the newer form.",
    "semaphores": "Semaphores it holds while it runs; it waits for all of them. resources-first asks for nodes before.",
    "branches": "Patterns, matched from the start, of the branches that this definition is for.",
    "files": "It runs only if a file of the change matches one of these patterns.",
    "irrelevant-files": "It does not run if all files of the change match these patterns.",
    "secrets": "Secrets of the same project, for the playbooks of this definition only unless pass-to-parent.",
    "nodeset": "The machines it runs on: a nodeset's name, or one written here.",
    "pre-timeout": "Seconds that the pre-run playbooks may take.",
    "timeout": "Seconds that the pre-run and run playbooks may take together.",
    "post-timeout": "Seconds that each post-run playbook may take.",
    "attempts": "How often it is tried if something fails that is not the change's fault (3).",
    "pre-run": "Playbooks before the run, parents' first; if one fails the job is tried again.",
    "post-run": "Playbooks after the run, parents' last, whatever happened; cleanup: true lets one run after a cancel too.",
    "run": "Playbooks that are the job; they replace the parent's.",
    "cleanup-run": "Deprecated: use post-run with cleanup: true.",
    "ansible-split-streams": "Keep standard output and standard error of commands apart.",
    "ansible-version": "The version of Ansible it is played with.",
    "roles": "Repositories with Ansible roles for the playbooks of this definition.",
    "required-projects": "Projects that are checked out beside the one under test.",
    "include-projects": "Of the projects to check out, only these.",
    "exclude-projects": "Of the projects to check out, not these.",
    "vars": "Variables for all hosts, merged deeply with those of parents.",
    "extra-vars": "Variables that win over all others, as ansible-playbook -e.",
    "host-vars": "Variables by host.",
    "group-vars": "Variables by group of hosts.",
    "include-vars": "Files in repositories, read as variables when the job starts.",
    "dependencies": "Jobs that must succeed before; a soft one only if it runs at all.",
    "allowed-projects": "The only projects that may run it; those of parents are intersected.",
    "override-branch": "Deprecated: use override-checkout.",
    "override-checkout": "The branch or tag to check out of every project, if it has it.",
    "description": _DESCRIPTION,
    "variant-description": "What sets this variant apart, in words.",
    "post-review": "It runs only in pipelines that are post-review; it cannot be unset.",
    "match-on-config-updates": "It runs too if the change alters its configuration, whatever its file matchers say (true).",
    "workspace-scheme": "How checkouts lie below src: golang is host/org/name, flat is name, unique has the slashes encoded.",
    "workspace-checkout": "Check the projects out into files; auto does so only for a job without nodes.",
    "deduplicate": "In a cycle of changes, do equal jobs run once?",
    "failure-output": "Patterns in the console that mean failure, known before the job ends.",
    "image-build-name": "The image that it builds.",
    "type": "An initializer runs before every regular job, a reporter after the result is reported.",
    "preserve-home-paths": "Paths below the home directory that are kept from one playbook to the next.",
    "secret-exposure": "What to do if a secret shows in its logs.",
    "attribute-control": "Attributes that no later definition may change.",
}
VARIANT: Meanings = {key: text for key, text in JOB.items() if key != "name"}
_PROJECT: Meanings = {
    "description": _DESCRIPTION,
    "queue": "The queue that its changes share in dependent pipelines.",
    "vars": "Variables for all its jobs, below what the jobs say themselves.",
}
TEMPLATE: Meanings = {"name": _NAME, **_PROJECT}
PROJECT: Meanings = {
    "name": "The project that is configured, or a ^pattern of names; the one this file is in unless said.",
    **_PROJECT,
    "branches": "Patterns of the branches this stanza is for.",
    "templates": "Project-templates whose jobs it runs too.",
    "merge-mode": "How its changes are merged.",
    "default-branch": "The branch checked out of it where the change's own does not exist.",
}
PROJECT_PIPELINE: Meanings = {
    "jobs": "The jobs it runs in this pipeline: names, or a name with attributes for here.",
    "debug": "Say in the report why each job ran or did not.",
    "fail-fast": "Report and cancel at the first failure.",
    "parameters": "Values asked for when something is enqueued by hand.",
}
NODESET: Meanings = {
    "name": _NAME,
    "nodes": "The machines: each a name (or several) and the label of what it is.",
    "groups": "Ansible's groups of these nodes.",
    "alternatives": "Nodesets, by name or written here, of which the first that can be had is used.",
}
SECRET: Meanings = {
    "name": _NAME,
    "data": "Its values; headgate encrypt makes encrypted ones.",
    "oidc": "An identity token, made for each build.",
}
SEMAPHORE: Meanings = {"name": _NAME, "max": "How many may hold it at once (1)."}
QUEUE: Meanings = {
    "name": _NAME,
    "per-branch": "Deprecated: use type: per-branch.",
    "type": "One queue for all branches, one for each, or one for the branches of the stanzas that assign it.",
    "allow-circular-dependencies": "Changes that depend on one another in a circle are tested and merged together.",
    "dependencies-by-topic": "Changes of one topic depend on one another.",
}
PRAGMA: Meanings = {
    "implied-branch-matchers": "Do the definitions of this file hold for its own branch only?",
    "implied-branches": "The branches that they hold for, instead of its own.",
}
IMAGE: Meanings = {
    "name": _NAME,
    "type": "zuul: a job builds it; cloud: the cloud has it.",
    "description": _DESCRIPTION,
    "retain-count": "How many builds are kept.",
    "max-retain-count": "The most that a provider may ask to be kept.",
}
FLAVOR: Meanings = {"name": _NAME, "description": _DESCRIPTION}
LABEL: Meanings = {
    "name": _NAME,
    "image": "The image its nodes boot.",
    "flavor": "Their size.",
    "description": _DESCRIPTION,
    "min-ready": "How many are kept ready.",
    "max-ready-age": "Seconds after which a ready node that nobody used is replaced.",
    "max-age": "Seconds after which a node is not used again.",
    "min-retention-time": "Seconds that a node is kept at least.",
    "max-nodes": "The most there may be.",
    "aliases": "Other labels that its nodes may serve.",
}
SECTION: Meanings = {
    "name": _NAME,
    "parent": "The section it takes its settings from.",
    "abstract": "No provider may use it, only sections.",
    "connection": "The connection to the cloud.",
    "description": _DESCRIPTION,
    "images": "The images it has, with what this cloud needs to know of them.",
    "flavors": "The flavors it has.",
    "labels": "The labels it has.",
}
PROVIDER: Meanings = {
    "name": _NAME,
    "section": "The section it takes its settings from.",
    "description": _DESCRIPTION,
    "images": SECTION["images"],
    "labels": "The labels that it serves.",
}
