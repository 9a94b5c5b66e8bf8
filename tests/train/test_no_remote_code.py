"""No code that a model's or tokenizer's folder brings is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.train.template import use_chat_template


def test_no_code_of_a_tokenizer_runs_whatever_the_terminal_answers(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    folder = tmp_path / "evil"
    folder.mkdir()
    names = {"AutoTokenizer": ["theirs.TheirTokenizer", None]}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "TheirTokenizer", "auto_map": names})
    )
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="cannot be loaded"):
        use_chat_template(tokenizer, {"chat_template_path": str(folder)})
    assert not (tmp_path / "ran").exists()
