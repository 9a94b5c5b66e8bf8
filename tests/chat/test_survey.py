"""Before submission every conversation meets the model's own template, and what is cut is said."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from hpclaunch.chat import survey
from hpclaunch.chat.tokenizer_files import TokenizerFiles
from hpclaunch.dataset.check import check_data
from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.shipped import shipped

ASK, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
ALTERNATING = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/...') }}{% endif %}"
    "{{ m['role'] + ': ' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""Refuses what Gemma 2's template refuses."""


def model(folder: Path, template: str | None) -> Path:
    """Return a model's folder with another chat template."""
    shutil.copytree(shipped("train", "tiny_llama_model"), folder)
    file = folder / "chat_template.jinja"
    file.unlink()
    if template is not None:
        file.write_text(template)
    return folder


def check(
    folder: Path, rows: list[dict[str, Any]], *overrides: str, recipe: str = "tiny"
) -> tuple[str, ...]:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check_data(
        load(recipe, (f"data.name={data}", "data.validation_split=null", *overrides)),
        environment={"HF_HOME": str(folder / "hub")},
    )


def test_a_turn_that_the_template_refuses_is_named_in_whichever_row(tmp_path: Path) -> None:
    name = f"model.name={model(tmp_path / 'model', ALTERNATING)}"
    good = [{"messages": [ASK, ANSWER]}] * 20
    assert check(tmp_path, good, name) == ()
    for turns, message, fix in (
        ([{"role": "system", "content": "s"}, ASK, ANSWER], "System role", "put the system text"),
        (
            [ASK, ANSWER, {"role": "system", "content": "s"}, ASK, ANSWER],
            "must",
            "of message 3 into",
        ),
        ([ASK, ASK, ANSWER], "must alternate", "begin with the user, and join turns"),
        ([ASK, ANSWER, {"role": "tool", "content": "x"}, ANSWER], "must alternate", "knows tools"),
    ):
        with pytest.raises(UserError) as raised:
            check(tmp_path, [*good, {"messages": turns}], name)
        assert f"rows.jsonl:21: the model's chat template refuses it: {message}" in str(
            raised.value
        ).replace("Conversation roles ", "")
        assert fix in raised.value.fix
    system = {"conversations": [ASK, ANSWER], "system": "Be kind."}
    with pytest.raises(UserError, match="System role not supported"):
        check(tmp_path, [system], name)


def test_reasoning_of_earlier_answers_that_is_not_learnt_is_told(tmp_path: Path) -> None:
    last_alone = (
        "{% for m in messages %}{{ m['role'] + ': ' }}{% if m.reasoning_content and loop.last %}"
        "{{ '(' + m.reasoning_content + ')' }}{% endif %}{{ m['content'] + '<|eot_id|>' }}"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    name = f"model.name={model(tmp_path / 'model', last_alone)}"
    whole = "training.assistant_only_loss=false"
    thought, before = ({**ANSWER, "thinking": text} for text in ("hm", "first"))
    assert check(tmp_path, [{"messages": [ASK, ANSWER, ASK, thought]}], name, whole) == ()
    (line,) = check(tmp_path, [{"messages": [ASK, before, ASK, thought]}], name, whole)
    assert "leaves out the reasoning of earlier answers" in line


def test_several_calls_in_a_turn_of_a_template_that_takes_one(tmp_path: Path) -> None:
    """Llama 3.1's own; the advice is for the rows, for the template knows tools."""
    single = (
        "{% for m in messages %}{% if m.tool_calls and m.tool_calls | length != 1 %}"
        "{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}"
        "{{ m['role'] }}: {{ m['content'] }}<|eot_id|>{% endfor %}"
    )
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    turns = [ASK, {"role": "assistant", "content": "", "tool_calls": [call, call]}, ANSWER]
    with pytest.raises(UserError) as raised:
        name = f"model.name={model(tmp_path / 'model', single)}"
        check(tmp_path, [{"messages": [ASK, ANSWER]}] * 9 + [{"messages": turns}], name)
    assert "rows.jsonl:10: " in str(raised.value)
    assert "each call as a message of its own" in raised.value.fix


def test_a_template_whose_loops_do_not_end_is_refused(tmp_path: Path) -> None:
    loops = "{% for n in range(3000) %}" * 2 + "{% endfor %}" * 2  # a second, were they let be
    with pytest.raises(UserError, match="its loops take more than"):
        check(tmp_path, [{"messages": [ASK, ANSWER]}], f"model.name={model(tmp_path / 'm', loops)}")


def test_rows_of_a_form_that_was_rendered_are_left_to_the_job_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "RENDER_SECONDS", 0.0)
    name = f"model.name={model(tmp_path / 'model', ALTERNATING)}"
    rows = [{"messages": [ASK, ANSWER]}] * 50 + [{"messages": [ASK, ASK, ANSWER]}]
    with pytest.raises(UserError, match=r"rows\.jsonl:51: .* must alternate"):
        check(tmp_path, rows, name)


def test_without_trl_nothing_is_said_of_what_its_templates_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewriting = (
        "{% for m in messages %}{{ m['role'] + ': ' + (m['content'] if loop.last else 'x') }}"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    name = f"model.name={model(tmp_path / 'model', rewriting)}"
    rows = [{"messages": [ASK, ANSWER, ASK, ANSWER]}]
    monkeypatch.setattr(TokenizerFiles, "knows_answers", True)
    with pytest.raises(UserError, match="writes earlier turns otherwise"):
        check(tmp_path, rows, name)
    monkeypatch.setattr(TokenizerFiles, "knows_answers", False)
    assert check(tmp_path, rows, name, "training.max_length=2") == ()


def test_a_template_that_cannot_be_read_and_a_model_without_one(tmp_path: Path) -> None:
    broken = model(tmp_path / "broken", "{% for m in messages %}")
    with pytest.raises(UserError, match=r"chat template cannot be read: .*chat_template_path"):
        check(tmp_path, [{"messages": [ASK, ANSWER]}], f"model.name={broken}")
    base = f"model.name={model(tmp_path / 'base', None)}"
    with pytest.raises(UserError, match="tokenizer has no chat template; use an Instruct model"):
        check(tmp_path, [{"messages": [ASK, ANSWER]}], base)
    assert check(tmp_path, [{"instruction": "q", "output": "a"}], base) == ()
    own = tmp_path / "own.jinja"
    own.write_text(ALTERNATING)
    named = f"training.chat_template_path={own}"
    assert check(tmp_path, [{"messages": [ASK, ANSWER]}], base, named) == ()


def test_a_tokenizer_that_is_not_here_is_said(tmp_path: Path) -> None:
    (line,) = check(tmp_path, [{"messages": [ASK, ANSWER]}], "model.name=owner/model")
    assert line.startswith("data: the chat template of owner/model is not on this machine")
    assert check(tmp_path, [{"text": "a"}], "model.name=owner/model") == ()
    cached = tmp_path / "hub" / "hub" / "models--owner--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    model(cached / "snapshots" / "abc", ALTERNATING)
    with pytest.raises(UserError, match="must alternate"):
        check(tmp_path, [{"messages": [ASK, ASK, ANSWER]}], "model.name=owner/model")


def test_what_max_length_cuts_off_is_said(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    long = {"role": "user", "content": "q " * 200}
    rows = [{"messages": [long if n % 2 else ASK, ANSWER]} for n in range(16)]
    (line,) = check(tmp_path, rows, "training.max_length=64")
    assert line.startswith("data: 8 of 16 samples have no token to learn from within 64; training.")
    needed = line.split("training.")[1].split()[0]
    assert check(tmp_path, rows, f"training.{needed}") == ()
    assert check(tmp_path, rows, "training.max_length=null") == ()
    with pytest.raises(UserError, match=r"all 16 samples of .* have no token to learn from within"):
        check(tmp_path, rows, "training.max_length=2")
    many = [{"text": "word " * (200 if n % 100 == 0 else 3)} for n in range(5000)]
    wrapped = ("training.packing=true", "training.packing_strategy=wrapped")
    (line,) = check(tmp_path, many, "training.max_length=64")
    assert (
        "samples looked at, of 5,000 in all, lose a part of what is learnt beyond 64 tokens" in line
    )
    assert check(tmp_path, many, "training.max_length=64", *wrapped) == ()


def test_weights_and_tools_of_a_template_that_takes_neither(tmp_path: Path) -> None:
    name = f"model.name={model(tmp_path / 'model', ALTERNATING)}"
    weighted = [{"messages": [ASK, {**ANSWER, "weight": 0}, ASK, ANSWER]}]
    assert check(tmp_path, weighted, name) == ()
    with pytest.raises(UserError, match="whole conversations are learnt"):
        check(tmp_path, weighted, name, "training.assistant_only_loss=false")
    tools = [{"messages": [ASK, ANSWER], "tools": [{"name": "q"}]}]
    with pytest.raises(UserError, match="leaves out the column 'tools'"):
        check(tmp_path, tools, name)
    assert check(tmp_path, tools) == (), "the tiny model's own template writes them"


CALLS = "{% for m in messages %}{{ m.get('tool_calls') or m['content'] }}{% endfor %}"


def test_a_text_that_the_template_leaves_out_beside_a_call_is_named(tmp_path: Path) -> None:
    """As Llama 3.1's does."""
    name = f"model.name={model(tmp_path / 'model', CALLS)}"
    call = {"role": "assistant", "content": "Let me see.", "tool_calls": [{"name": "f"}]}
    with pytest.raises(UserError, match="leaves out the text beside the tool call of message 2"):
        check(tmp_path, [{"messages": [ASK, call]}], name)


def test_pairs_and_labels_that_teach_nothing_are_counted(tmp_path: Path) -> None:
    pair = {"prompt": "q ", "chosen": "a", "rejected": "a"}
    (line,) = check(tmp_path, [pair, {**pair, "rejected": "b"}], recipe="dpo")
    assert "1 of 2 pairs have the same chosen and rejected answer" in line
    (line,) = check(tmp_path, [{"prompt": "q ", "completion": "a", "label": 1}] * 2, recipe="kto")
    assert "every answer has the label true (good)" in line


def test_nothing_of_the_training_stack_is_imported(tmp_path: Path) -> None:
    import subprocess

    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"messages": [ASK, ANSWER]}) + "\n")
    code = (
        "import sys; from hpclaunch.dataset.check import check_data;"
        "from hpclaunch.recipe.load import load;"
        f"check_data(load('tiny', ('data.name={file}', 'data.validation_split=null')));"
        "print(*({'torch', 'transformers', 'trl', 'datasets', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
