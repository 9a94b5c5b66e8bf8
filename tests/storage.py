"""A real S3 server on loopback, with real bytes, that can be stopped and told to refuse."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import socket
from functools import cached_property
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer

from hpclaunch.train.checkpoint import manifest

BUCKET = "attic"
DENY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{BUCKET}/*",
        }
    ],
}


class Storage:
    """The server, and what a person with the keys sees in it."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._server: ThreadedMotoServer | None = None
        self._connections: set[socket.socket] = set()
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self.start()
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def variables(self) -> dict[str, str]:
        """What a user's environment says of it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "visitor",
            "AWS_SECRET_ACCESS_KEY": "let me in",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def write_files(self, home: Path) -> None:
        """Write the same where a person keeps it: the only way that a Slurm job may have it."""
        values = self.variables
        (home / ".aws").mkdir()
        (home / ".aws/credentials").write_text(
            f"[default]\naws_access_key_id = {values['AWS_ACCESS_KEY_ID']}\n"
            f"aws_secret_access_key = {values['AWS_SECRET_ACCESS_KEY']}\n"
        )
        (home / ".aws/config").write_text(
            f"[default]\nregion = {values['AWS_DEFAULT_REGION']}\n"
            f"endpoint_url = {values['AWS_ENDPOINT_URL']}\n"
        )

    def keep_versions(self) -> None:
        """Remember from now on how often each object was written."""
        self.client.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )

    def times_written(self, prefix: str) -> dict[str, int]:
        """Return how often each object under a prefix was written, removed ones included."""
        found: dict[str, int] = {}
        pages = self.client.get_paginator("list_object_versions").paginate(
            Bucket=BUCKET, Prefix=prefix
        )
        for page in pages:
            for version in page.get("Versions", []):
                name = version["Key"].removeprefix(prefix)
                found[name] = found.get(name, 0) + 1
        return found

    @cached_property
    def client(self) -> Any:
        """A client that has nothing to do with fsspec."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            aws_access_key_id="keeper",
            aws_secret_access_key="of the keys",
            region_name="us-east-1",
        )

    def start(self) -> None:
        """Listen; what it held before it was stopped is there again."""
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        inner: Any = self._server._server
        connections = self._connections

        class Remembered(inner.RequestHandlerClass):  # type: ignore[misc]  # a class by a value
            def setup(self) -> None:
                super().setup()
                connections.add(self.connection)

            def finish(self) -> None:
                connections.discard(self.connection)
                super().finish()

        inner.RequestHandlerClass = Remembered

    def stop(self) -> None:
        """Listen no more, and end the connections that are kept open: they would be served on."""
        if self._server:
            self._server.stop()
            self._server = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def refuse(self, refused: bool) -> None:
        """Forbid writing, or allow it again."""
        if refused:
            self.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(DENY))
        else:
            self.client.delete_bucket_policy(Bucket=BUCKET)

    def files(self, prefix: str = "") -> dict[str, int]:
        """Return the size of every object under a prefix, by what follows the prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {
            found["Key"].removeprefix(prefix): found["Size"]
            for page in pages
            for found in page.get("Contents", [])
        }

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        body: bytes = self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def write(self, key: str, data: bytes) -> None:
        """Put an object in place of the one there."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def remove(self, prefix: str) -> None:
        """Remove everything under a prefix."""
        for key in self.files(prefix):
            self.client.delete_object(Bucket=BUCKET, Key=prefix + key)

    def whole(self, prefix: str) -> bool:
        """Return whether a folder holds its manifest and every file of it, by size and checksum."""
        there = self.files(prefix)
        if manifest.NAME not in there:
            return False
        found = manifest.parse(self.read(prefix + manifest.NAME).decode())
        return found is not None and all(
            manifest.FileEntry(len(data), hashlib.sha256(data).hexdigest()) == part
            for name, part in found[1].items()
            if (data := self.read(prefix + name)) is not None
        )
