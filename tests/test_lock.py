"""What is installed is pinned, with hashes, and the pins agree."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.audit import verdict
from tests.lock import CONSTRAINTS, DEV, NO_HASH, ROOT, TRAIN, oldest_python, pins, without_builds

HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def names(extras: dict[str, list[str]], *wanted: str) -> set[str]:
    """The names of the packages that some extras require, as an index writes them."""
    found: set[str] = set()
    for each in (line for extra in wanted for line in extras[extra]):
        own = re.fullmatch(r"hpclaunch\[(.+)\]", each)
        if own:
            found |= names(extras, *own.group(1).split(","))
        else:
            found.add(re.split(r"[\[<>=!~ ;]", each)[0].lower().replace("_", "-"))
    return found


def test_every_direct_dependency_is_locked() -> None:
    """`make lock` writes the files anew after a change of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"] | {"base": project["dependencies"]}
    assert names(extras, "base", "train") - set(pins(TRAIN.read_text())) == {"torch"}
    assert names(extras, "base", "train", "dev") - set(pins(DEV.read_text())) == {"torch"}
    assert names(extras, *extras) <= set(pins(CONSTRAINTS.read_text()))


def test_the_oldest_python_can_install_what_is_locked() -> None:
    """Debian 12 has 3.11.2, and a package may ask for 3.11.5."""
    locked = set(pins(DEV.read_text()))
    installed = [(each, canonicalize_name(each.name)) for each in metadata.distributions()]
    refused = [
        f"{name} {each.version} wants {each.metadata['Requires-Python']}"
        for each, name in installed
        if name in locked
        and not SpecifierSet(each.metadata["Requires-Python"] or "").contains(oldest_python())
    ]
    assert not refused


@pytest.mark.parametrize("lock", [TRAIN, DEV])
def test_every_locked_package_has_hashes_and_the_pinned_version(lock: Path) -> None:
    text = lock.read_text()
    versions = pins(CONSTRAINTS.read_text())
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) > 50
    for block in blocks:
        (pin,) = pins(block).items()
        assert HASH.search(block), pin
        assert versions[pin[0]] == pin[1]
        assert not NO_HASH.fullmatch(pin[0])
    for each in text.splitlines():
        assert each.startswith(("#", "    --hash=sha256:")) or "==" in each, each


def test_builds_that_depend_on_the_machine_are_left_out_of_a_lock() -> None:
    block = "{}==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:00\n"
    left = ["click", "nvidia-ml-py", "torchmetrics"]
    out = ["torch", "triton", "nvidia-cublas", "nvidia-nccl-cu13", "cuda-bindings"]
    text = "".join(block.format(name) for name in sorted(left + out))
    assert list(pins(without_builds(text))) == sorted(left)


def test_an_audit_without_data_says_so() -> None:
    whole = {"name": "click", "version": "8", "vulns": []}
    weak = {"name": "yaml", "version": "5", "vulns": [{"id": "CVE-1", "fix_versions": ["6"]}]}
    unknown = {"name": "x", "skip_reason": "Dependency not found on PyPI"}
    assert verdict({"dependencies": [unknown, unknown]}) == (
        "the advisories cannot be reached: nothing was audited",
        2,
    )
    assert verdict({"dependencies": [whole]}) == ("1 packages audited, 0 weaknesses known", 0)
    text, code = verdict({"dependencies": [whole, weak, unknown]})
    assert code == 1
    assert text.splitlines() == [
        "yaml 5: CVE-1, fixed in 6",
        "2 packages audited, 1 weaknesses known",
        "not audited, being unknown there: x",
    ]
