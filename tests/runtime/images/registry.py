"""A registry of one image, from an OCI layout: what of its protocol a pull needs, without TLS."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PATH = re.compile(r"/v2/an/image/(manifests|blobs)/(\S+)")


@contextmanager
def serving(layout: Path) -> Iterator[str]:
    """What the image is called, as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self.wfile.write(self._answer())

        def _answer(self) -> bytes:
            found = _PATH.fullmatch(self.path)
            data, kind = b"{}", "application/json"
            if found is not None:
                digest = found[2]
                if found[1] == "manifests":
                    digest = json.loads((layout / "index.json").read_text())["manifests"][0][
                        "digest"
                    ]
                    kind = "application/vnd.oci.image.manifest.v1+json"
                data = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
            self.send_response(200 if found or self.path == "/v2/" else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            return data

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}/an/image:1"
        finally:
            server.shutdown()
            thread.join()
