"""What is removed, and what a link leads to, which is not."""

from __future__ import annotations

from pathlib import Path

from hpclaunch.run.removal import remove


def test_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept/inner").mkdir(parents=True)
    for name, target in (("link", "kept"), ("dangling", "nowhere"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
        remove(tmp_path / name)
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "kept/inner").is_dir()
    remove(tmp_path / "kept")
    remove(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
