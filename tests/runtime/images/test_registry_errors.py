"""What skopeo says, in words; the lines are what it said."""

from __future__ import annotations

import pytest

from rekindle.runtime.images.registry_errors import what_to_do


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            'Get "https://a.example/v2/": dial tcp: lookup a.example on 10.0.0.1:53: no such host',
            ": the registry cannot be reached from here: .*copy docker://x:1 oci-archive:FILE",
        ),
        (
            'Get "https://a.example/v2/": tls: first record does not look like a TLS handshake',
            ": the registry has no TLS: .*registries.conf",
        ),
        ("tls: failed to verify certificate: x509: certificate signed by unknown", "certs.d"),
        ("reading manifest 1 in x: unauthorized: authentication required", "wants a login"),
        ("reading manifest v9 in x: manifest unknown", "has no such image, or no such tag"),
        ("writing blob: no space left on device", "^$"),
    ],
)
def test_what_skopeo_says_is_followed_by_what_to_do(said: str, words: str) -> None:
    found = what_to_do("docker://x:1", said)
    with pytest.raises(ValueError, match=words):
        raise ValueError(found)
