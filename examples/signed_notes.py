"""A secret kept by name, and notes that are signed with it and checked.

rekindle up
head -c 30 /dev/urandom | base64 | rekindle secret create notes-key NOTES_KEY=-
rekindle run examples/signed_notes.py
rekindle run examples/signed_notes.py --note "Thar she blows!"
"""

import hashlib
import hmac
import os

import rekindle

app = rekindle.App("signed-notes")
key = rekindle.Secret.from_name("notes-key", required_keys=["NOTES_KEY"])


def signature(note: str) -> str:
    return hmac.new(os.environ["NOTES_KEY"].encode(), note.encode(), hashlib.sha256).hexdigest()


@app.function(secrets=[key])
def sign(note: str) -> str:
    return f"{note}\n{signature(note)}"


@app.function(secrets=[key])
def check(signed: str) -> bool:
    note, _, given = signed.rpartition("\n")
    return hmac.compare_digest(given, signature(note))


@app.local_entrypoint()
def main(note: str = "Call me Ishmael.") -> None:
    signed = sign.remote(note)
    print(signed)
    print("as it was signed:", check.remote(signed))
    print("with a word changed:", check.remote(signed.replace(note, note.upper())))
