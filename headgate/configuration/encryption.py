"""Secrets in Zuul's own format: PKCS#1 OAEP with a project's RSA key, in chunks that the key can hold."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from headgate.configuration.definitions import Secret
from headgate.configuration.document_values import Encrypted

KEY_BITS = 4096
_OVERHEAD = 42
"""Bytes of a chunk that OAEP with SHA-1 takes for itself (RFC 8017, 7.1.1: twice the hash and two)."""


class BadKey(Exception):
    """No key, or the wrong one: one sentence."""


def _oaep() -> padding.OAEP:
    sha1 = hashes.SHA1()  # noqa: S303 - the format says so; OAEP does not rest on its collision resistance
    return padding.OAEP(mgf=padding.MGF1(algorithm=sha1), algorithm=sha1, label=None)


def new_private_key() -> str:
    """A project's new private key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def public_key(private: str) -> str:
    """The public half, PEM, of a private key. Raises `BadKey`."""
    public = _private(private).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _private(pem: str) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as wrong:
        raise BadKey("not a private key in PEM without a passphrase") from wrong
    if not isinstance(key, rsa.RSAPrivateKey):
        raise BadKey("not an RSA key")
    return key


def encrypt(plain: str, public: str) -> Encrypted:
    """A value only the holder of the private key can read. `public` is PEM. Raises `BadKey`."""
    try:
        key = serialization.load_pem_public_key(public.encode())
    except ValueError as wrong:
        raise BadKey('not a public key in PEM, which begins with "-----BEGIN PUBLIC KEY-----"') from wrong
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadKey("not an RSA key")
    size = key.key_size // 8 - _OVERHEAD
    data = plain.encode()
    chunks = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    return Encrypted(tuple(key.encrypt(chunk, _oaep()) for chunk in chunks))


def as_yaml(encrypted: Encrypted, name: str, field: str) -> str:
    """A secret stanza ready to be pasted."""
    lines = [f"- secret:\n    name: {name}\n    data:\n      {field}: !encrypted/pkcs1-oaep"]
    for chunk in encrypted.chunks:
        text = base64.b64encode(chunk).decode()
        wrapped = [text[start : start + 64] for start in range(0, len(text), 64)]
        lines.append("        - " + "\n          ".join(wrapped))
    return "\n".join(lines) + "\n"


def decrypt(secret: Secret, private: str) -> Mapping[str, Any]:
    """A secret's data in the clear. Raises `BadKey` when it was encrypted for another key."""
    return _decrypted(secret.data or {}, _private(private), secret.name)  # type: ignore[no-any-return]  # a mapping stays one


def _decrypted(value: Any, key: rsa.RSAPrivateKey, name: str) -> Any:
    if isinstance(value, Encrypted):
        try:
            return b"".join(key.decrypt(chunk, _oaep()) for chunk in value.chunks).decode()
        except ValueError as wrong:
            raise BadKey(f'the secret "{name}" was encrypted for another key') from wrong
    if isinstance(value, Mapping):
        return {each: _decrypted(inner, key, name) for each, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_decrypted(inner, key, name) for inner in value]
    return value
