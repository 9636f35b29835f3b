"""What a worker elsewhere and the home of the state directory share: a secret, by which requests are signed and secrets are sealed.

The secret itself never travels. A request is signed with everything it says and the time it was made, so who listens can neither change
it nor, after a few minutes, send it again; and each may be repeated without harm. What must not be read on the way is sealed besides.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from headgate.problems import Problem

PATH = "/home"
TIME, SIGNATURE = "X-Headgate-Time", "X-Headgate-Signature"
CLOCK_SECONDS = 300.0
"""How far the clocks of two machines may be apart."""
LARGEST_BODY = 4 << 20
"""Bytes of one request; what is larger is sent in pieces."""
LARGEST_SECRET = 16 << 20
"""Bytes of one that is to keep a secret, which comes whole: what a build may return (`tasks.returned_file`), sealed."""
CONSOLE, LOGS = "console.log", "logs.tar"
"""What is sent of a build, piece by piece."""
NODE_KEYS, SECRET_DATA = "node-keys", "secret-data"
"""Kinds of small secrets that any worker may need which another one made: by node, by build."""


class Unsealable(Exception):
    """It was sealed with another secret or about something else, or changed on its way."""


class SharedSecret:
    """The secret that proves a worker to be one of ours."""

    def __init__(self, value: str) -> None:
        def derived(use: bytes) -> bytes:
            return hmac.digest(value.encode(), use, "sha256")

        self._signing = derived(b"headgate requests")
        self._sealing = Fernet(base64.urlsafe_b64encode(derived(b"headgate secrets")))

    def sign(self, method: str, target: str, moment: str, body: bytes) -> str:
        """The signature of a request; `target` is what comes after `PATH`, with its query."""
        said = "\n".join((method, target, moment, hashlib.sha256(body).hexdigest()))
        return hmac.new(self._signing, said.encode(), "sha256").hexdigest()

    def signed(self, signature: str, method: str, target: str, moment: str, body: bytes) -> bool:
        return hmac.compare_digest(signature.encode(), self.sign(method, target, moment, body).encode())

    def seal(self, plain: bytes, about: str) -> bytes:
        """Readable only with this secret and by who knows what it is about: an answer is about its request's signature, so that nobody on
        the way can put another answer in its place."""
        return self._sealing.encrypt(hashlib.sha256(about.encode()).digest() + plain)

    def unseal(self, sealed: bytes, about: str) -> bytes:
        """Raises `Unsealable`."""
        try:
            opened = self._sealing.decrypt(sealed)
        except InvalidToken:
            raise Unsealable("it was sealed with another secret, or changed on its way") from None
        if not hmac.compare_digest(opened[:32], hashlib.sha256(about.encode()).digest()):
            raise Unsealable("it belongs to another request")
        return opened[32:]


def read_secret(path: Path) -> SharedSecret:
    """Raises `Problem` when there is none that could be one."""
    try:
        value = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is no text"
        raise Problem(f"The workers' secret {path} cannot be read: {reason}. Copy it from the machine of `headgate up`.") from problem
    if len(value) < 32:
        raise Problem(f"The workers' secret {path} is too short: 32 characters or more are needed, as `headgate up` makes them.")
    return SharedSecret(value)


def make_secret(path: Path) -> SharedSecret:
    """The secret in the file, made now, for its owner only, if there is none. Raises `Problem`."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
        temporary.rename(path)
    return read_secret(path)
