"""Where copies go: what is an address, and that no secret in one comes through or is repeated."""

import pytest

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/me/runs",
        "gs://bucket/me",
        "hf://datasets/me/runs",
        "file:///scratch/me",
        "abfs://container@account.dfs.core.windows.net/me",
        "sftp://me@host/home/me",
    ],
)
def test_an_address(url: str) -> None:
    assert load("tiny", [f"checkpoints.sync_to={url}"]).checkpoints.sync_to == url


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("s3://me:hunter2@bucket/x", "hunter2"),
        ("s3://:hunter2@bucket/x", "hunter2"),
        ("sftp://me:a/b:hunter2@host/x", "hunter2"),
        ("s3://bucket/x?X-Amz-Signature=deadbeef", "deadbeef"),
        ("s3://bucket/x?key=hunter2", "hunter2"),
        ("s3://AKIAABCDEFGHIJKLMNOP@bucket/x", "AKIAABCDEFGHIJKLMNOP"),
        ("hf://hf_abcdefghijklmnopqrstuvwxyz/x", "abcdefghij"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(url: str, secret: str) -> None:
    with pytest.raises(UserError) as caught:
        load("tiny", [f"checkpoints.sync_to={url}"])
    assert "checkpoints.sync_to: the address holds a password, a key or a query" in str(
        caught.value
    )
    assert "~/.aws/credentials" in str(caught.value)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bucket/me", "no address"),
        ("/scratch/me", "no address"),
        ("s3:/bucket", "no address"),
        ("s3://", "no address"),
        ("s3://a b", "no address"),
        ("simplecache::s3://bucket", "no address"),
        ("memory://x", "nothing can be kept at memory://"),
        ("https://host/x", "nothing can be kept at https://"),
        ("file://scratch/me", "no whole path"),
        ("3", "expected"),
    ],
)
def test_what_is_no_address(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load("tiny", [f"checkpoints.sync_to={url}"])
