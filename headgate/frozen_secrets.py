"""Secrets from the freezing of a job graph to the playbooks they are for: kept encrypted, read by those entitled.

Law: a secret's object is the one of the layout that the graph was frozen from. A playbook gets what its own level names, nothing else;
an untrusted playbook gets it only in a post-review pipeline (the configuration refuses such a job elsewhere; this is the second lock).
What the jobs a job depends on returned as `secret_data` lies below every other variable.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headgate.configuration.definitions import Secret
from headgate.configuration.documents import Encrypted
from headgate.configuration.encryption import BadKey, decrypt
from headgate.configuration.layout import Layout
from headgate.jobs import FrozenJob, JobGraph, Playbook, SecretUse
from headgate.results import script

ENCRYPTED = "!encrypted/pkcs1-oaep"


class SecretProblem(Exception):
    """A secret cannot be given to a playbook; one sentence without the secret."""


def key_of(use: SecretUse) -> str:
    return f"{use.project}: {use.secret}"


def frozen_secrets(graph: JobGraph, layout: Layout) -> dict[str, Any]:
    """Every secret that a playbook of the graph names, still encrypted, as JSON. The key is `key_of` its use."""
    found: dict[str, Any] = {}
    for job in graph.jobs:
        for _, playbook in script(job):
            for use in playbook.secrets:
                secret = layout.state.secret_value(use.secret)
                if secret is not None:
                    found[key_of(use)] = {"data": _as_json(secret.data)} if secret.data is not None else {"oidc": True}
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, Encrypted):
        return {ENCRYPTED: [base64.b64encode(chunk).decode() for chunk in value.chunks]}
    if isinstance(value, Mapping):
        return {str(name): _as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {ENCRYPTED}:
            return Encrypted(tuple(base64.b64decode(chunk) for chunk in value[ENCRYPTED]))
        return {name: _from_json(inner) for name, inner in value.items()}
    return [_from_json(inner) for inner in value] if isinstance(value, list) else value


def as_json(secret: Secret) -> dict[str, Any]:
    """A secret, still encrypted, to be sent to who has the key."""
    return {"name": secret.name, "data": _as_json(secret.data)}


def from_json(value: Mapping[str, Any]) -> Secret:
    return Secret(str(value["name"]), _from_json(value["data"]))


Reveal = Callable[[str, Secret], Mapping[str, Any]]
"""The fields of a secret of a canonical project, decrypted. Raises `BadKey`."""


def with_keys(private_key: Callable[[str], str]) -> Reveal:
    """By who has the projects' keys: `private_key` gives the PEM of a canonical project."""
    return lambda project, secret: decrypt(secret, private_key(project))


def secrets_of(playbook: Playbook, kept: Mapping[str, Any], reveal: Reveal, post_review: bool) -> dict[str, Mapping[str, Any]]:
    """The decrypted secrets of one playbook, by variable. `post_review` is the pipeline's. Raises `SecretProblem`."""
    found: dict[str, Mapping[str, Any]] = {}
    for use in playbook.secrets:
        if not playbook.trusted and not post_review:
            raise SecretProblem(
                f"{playbook.path} of {playbook.project} may not have the secret {use.secret}: the pipeline is not post-review"
            )
        secret = kept.get(key_of(use))
        if secret is None:
            raise SecretProblem(f"the secret {use.secret} of {use.project} is not there")
        if "data" not in secret:
            raise SecretProblem(f"the secret {use.secret} of {use.project} is an OIDC token, which is not issued here")
        try:
            found[use.name] = reveal(use.project, Secret(use.secret, _from_json(secret["data"])))
        except BadKey as wrong:
            raise SecretProblem(f"{use.project}: {wrong}") from wrong
    return found


def below_others(returned: Mapping[str, Any], job: FrozenJob, others: Iterable[str] = ()) -> dict[str, Any]:
    """Of `secret_data` returned by other jobs, what no other variable of the job has the name of."""
    known = {*job.vars, *job.extra_vars, *others, "zuul"}
    for named in (*job.host_vars.values(), *job.group_vars.values()):
        known |= set(named)
    return {name: value for name, value in returned.items() if name not in known}
