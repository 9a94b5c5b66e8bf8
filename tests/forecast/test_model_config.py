"""A model's config: from its folder, the cache, what is known, or a hub on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hpclaunch.forecast.model_config import beyond_positions, model_config
from hpclaunch.recipe.schema import Model

CONFIG = {"model_type": "llama", "hidden_size": 64}


class Hub(BaseHTTPRequestHandler):
    """Return configs to those who bring the token, and hands over to a storage once."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/org/moved/"):
            self.send_response(302)
            self.send_header("Location", "/storage/config.json")
            self.end_headers()
            return
        if self.path.startswith("/org/gated/") and not self.headers.get("Authorization"):
            self.send_error(401)
            return
        if self.path.startswith("/org/missing/"):
            self.send_error(404)
            return
        body = b"<html>" if "broken" in self.path else json.dumps(CONFIG).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def context_from_env(tmp_path: Path, hub: str = "http://127.0.0.1:9") -> dict[str, str]:
    return {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf")}


def test_a_folder_and_the_cache_come_before_the_hub(tmp_path: Path, hub: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    variables = context_from_env(tmp_path, hub)
    assert model_config(Model(name=str(folder)), variables, ask_hub=True)[0] == CONFIG
    snapshot = tmp_path / "hf/hub/models--org--kept/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG | {"hidden_size": 32}))
    kept, origin = model_config(Model(name="org/kept"), variables, ask_hub=True)
    assert kept is not None and kept["hidden_size"] == 32
    assert "snapshots/abc" in origin
    assert Hub.asked == []


@pytest.mark.parametrize(
    ("config", "tokens", "said"),
    [
        ({"max_position_embeddings": 8192}, 8192, None),
        ({"max_position_embeddings": 8192}, 8193, "beyond position 8,192"),
        ({"n_positions": 1024}, 2048, "beyond position 1,024"),
        ({"text_config": {"max_position_embeddings": 4096}}, 8192, "beyond position 4,096"),
        ({}, 10**6, None),
    ],
)
def test_samples_beyond_the_models_positions(
    config: dict[str, Any], tokens: int, said: str | None
) -> None:
    text = beyond_positions(config, tokens)
    assert (said is None) is (text is None)
    assert (said or "") in (text or "")


def test_a_stretched_model_knows_more_positions() -> None:
    rope = {"factor": 4.0, "original_max_position_embeddings": 32768}
    stretched = {"max_position_embeddings": 32768, "rope_scaling": rope}
    assert beyond_positions(stretched, 131072) is None


def test_the_hub_is_asked_last_and_only_where_it_may_be(tmp_path: Path, hub: str) -> None:
    variables = context_from_env(tmp_path, hub)
    assert model_config(Model(name="org/open"), variables, ask_hub=False)[0] is None
    assert Hub.asked == []
    found, _ = model_config(Model(name="org/open", revision="v2"), variables, ask_hub=True)
    assert found == CONFIG
    assert Hub.asked == [("/org/open/resolve/v2/config.json", None)]


def test_the_token_goes_to_the_hub_and_no_further(tmp_path: Path, hub: str) -> None:
    variables = context_from_env(tmp_path, hub) | {"HF_TOKEN": "hf_secret"}
    assert model_config(Model(name="org/gated"), variables, ask_hub=True)[0] == CONFIG
    assert model_config(Model(name="org/moved"), variables, ask_hub=True)[0] == CONFIG
    assert Hub.asked[-1] == ("/storage/config.json", None)
    assert {secret for path, secret in Hub.asked[:-1]} == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("name", "said"),
    [("org/missing", "404"), ("org/gated", "401"), ("org/broken", "cannot be reached")],
)
def test_what_the_hub_does_not_give(tmp_path: Path, hub: str, name: str, said: str) -> None:
    found, why = model_config(Model(name=name), context_from_env(tmp_path, hub), ask_hub=True)
    assert found is None
    assert said in why


def test_no_hub_is_no_harm(tmp_path: Path) -> None:
    for endpoint in ("http://127.0.0.1:9", "file:///etc", "nonsense"):
        variables = context_from_env(tmp_path, endpoint)
        found, why = model_config(Model(name="org/open"), variables, ask_hub=True)
        assert found is None and why
