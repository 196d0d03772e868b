#!/usr/bin/env python3
"""Checks the signature vectors of crates/core with other people's code.

What it is for: our vectors must not only agree with ourselves. Needs `pip install cryptography standardwebhooks`.
"""

import base64
import datetime
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks.webhooks import Webhook

DATA = pathlib.Path(__file__).resolve().parent.parent / "crates/core/tests/data"
NOW = 1_800_000_000


def key(text: str, prefix: str) -> bytes:
    assert text.startswith(prefix), text
    return base64.b64decode(text.removeprefix(prefix), validate=True)


def ed25519_holds(vector: dict) -> bool:
    seed, public = key(vector["secret"], "whsk_"), key(vector["public_key"], "whpk_")
    derived = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    if derived.public_bytes(Encoding.Raw, PublicFormat.Raw) != public:
        return False
    version, signature = vector["signature"].split(",", 1)
    text = f"{vector['id']}.{vector['timestamp']}.".encode() + base64.b64decode(vector["body_base64"])
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature), text)
    except InvalidSignature:
        return False
    return version == "v1a"


def standard_holds(vector: dict) -> bool:
    """Signs and verifies with the reference library and compares with a plain HMAC of the signed text."""
    at = datetime.datetime.fromtimestamp(vector["timestamp"], datetime.timezone.utc)
    secret = key(vector["secret"], "whsec_")
    theirs = Webhook(vector["secret"]).sign(vector["id"], at, vector["payload"])
    text = f"{vector['id']}.{vector['timestamp']}.{vector['payload']}".encode()
    return theirs == "v1," + base64.b64encode(hmac.digest(secret, text, "sha256")).decode() == vector["signature"]


def contract_holds(vector: dict) -> bool:
    algorithm = {"SHA256": hashlib.sha256, "SHA512": hashlib.sha512}[vector["hash"]]

    def mac(text: str) -> str:
        tag = hmac.new(vector["secret"].encode(), text.encode(), algorithm).digest()
        return tag.hex() if vector["encoding"] == "hex" else base64.b64encode(tag).decode()

    if not vector["advanced"]:
        return (vector["header"] == mac(vector["payload"])) == vector["valid"]
    fields = [field.split("=", 1) for field in vector["header"].split(",")]
    times = [value for name, value in fields if name == "t" and value.isdigit()]
    expected = mac(f"{times[0]},{vector['payload']}") if times else None
    accepted = (
        bool(times)
        and NOW - int(times[0]) <= vector["tolerance"]
        and any(name.startswith("v") and value == expected for name, value in fields)
    )
    return accepted == vector["valid"]


def main() -> int:
    failures = 0
    for file, holds in [
        ("convoy-signature-vectors.json", contract_holds),
        ("ed25519-vectors.json", ed25519_holds),
        ("standard-vectors.json", standard_holds),
    ]:
        for vector in json.loads((DATA / file).read_text()):
            if not holds(vector):
                print(f"{file}: {vector['name']} does not hold")
                failures += 1
    print("all vectors hold" if failures == 0 else f"{failures} vectors do not hold")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
