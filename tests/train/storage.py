"""A real S3 server on loopback, with real bytes, that can be stopped and told to refuse."""

from __future__ import annotations

import json
import zlib
from typing import Any

from moto.server import ThreadedMotoServer

from hpclaunch.train import manifest
from tests.train.running import free_port

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
        self.port = free_port()
        self._server: ThreadedMotoServer | None = None
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

    @property
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

    def stop(self) -> None:
        """Listen no more."""
        if self._server:
            self._server.stop()
            self._server = None

    def refuse(self, refused: bool) -> None:
        """Forbid writing, or allow it again."""
        if refused:
            self.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(DENY))
        else:
            self.client.delete_bucket_policy(Bucket=BUCKET)

    def files(self, prefix: str = "") -> dict[str, int]:
        """Give the size of every object under a prefix, by what follows the prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {
            found["Key"].removeprefix(prefix): found["Size"]
            for page in pages
            for found in page.get("Contents", [])
        }

    def read(self, key: str) -> bytes:
        """Give an object's bytes."""
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
        """Say whether a folder holds its manifest and every file of it, by size and checksum."""
        there = self.files(prefix)
        if manifest.NAME not in there:
            return False
        found = manifest.parse(self.read(prefix + manifest.NAME).decode())
        return found is not None and all(
            manifest.Part(len(data), zlib.crc32(data)) == part
            for name, part in found[1].items()
            if (data := self.read(prefix + name)) is not None
        )
