"""Site profiles: the packaged ones, the user's own, and which is taken where."""

import os
from pathlib import Path

import pytest

from hpclaunch.errors import UserError
from hpclaunch.site.load import (
    GENERIC,
    config_folder,
    gpu_request,
    gpus,
    load_site,
    site_for_cluster,
    site_names,
)


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of profiles, empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "hpclaunch" / "sites"
    folder.mkdir(parents=True)
    return folder


def test_all_packaged_profiles_load() -> None:
    names = site_names()
    assert {"baskerville", "isambard-ai", GENERIC} <= set(names)
    for name in names:
        site = load_site(name)
        assert site.name == name
        assert site.description
        for kind, request in site.gpus.items():
            assert kind in gpus(), "a kind whose memory and speed nobody knows helps no plan"
            assert gpu_request(site, kind) is request


def test_baskerville_is_asked_as_its_users_ask_it() -> None:
    site = load_site("baskerville")
    assert site.needs == ["account", "qos"]
    assert site.mem == "491520"
    assert gpu_request(site, "a100_80").constraint == "a100_80"
    assert site.modules[:2] == ["baskerville", "bask-apps/live"]


def test_isambard_needs_no_account() -> None:
    assert load_site("isambard-ai").needs == []
    assert gpu_request(load_site("isambard-ai"), None).per_node == 4, "it has but one kind"


def test_a_kind_the_site_lacks_gets_the_list_of_those_it_has() -> None:
    with pytest.raises(UserError, match="no GPU type 'h100'; valid: a100_40, a100_80"):
        gpu_request(load_site("baskerville"), "h100")
    with pytest.raises(UserError, match="--gpu h1000: no such GPU type"):
        gpu_request(load_site(GENERIC), "h1000")
    assert gpu_request(load_site(GENERIC), "h100") == gpu_request(load_site(GENERIC), None)


@pytest.mark.parametrize(
    ("cluster", "site"),
    [
        ("baskerville", "baskerville"),
        ("Baskerville2", "baskerville"),
        ("aip1", "isambard-ai"),
        ("elsewhere", GENERIC),
        (None, GENERIC),
        ("", GENERIC),
    ],
)
def test_the_cluster_chooses_its_profile(cluster: str | None, site: str) -> None:
    assert site_for_cluster(cluster) == site


def test_a_profile_of_ones_own_stands_over_what_it_extends(own: Path) -> None:
    (own / "mine.yaml").write_text("extends: baskerville\naccount: abc\nqos: turing\n")
    site = load_site("mine")
    assert (site.name, site.account, site.qos) == ("mine", "abc", "turing")
    assert site.mem == load_site("baskerville").mem
    assert site.clusters == [], "it claims only the clusters it names itself"


def test_a_profile_of_ones_own_is_taken_before_the_packaged_one(own: Path) -> None:
    (own / "mine.yaml").write_text("extends: baskerville\nclusters: [baskerville]\n")
    assert site_for_cluster("baskerville") == "mine"
    assert site_for_cluster("baskerville2") == "baskerville"


def test_a_profile_by_a_packaged_name_replaces_it(own: Path) -> None:
    (own / "baskerville.yml").write_text("clusters: ['bask*']\npartition: fast\n")
    site = load_site("baskerville")
    assert site.partition == "fast"
    assert site.needs == []


def test_an_unknown_profile_gets_the_nearest_and_the_place_for_ones_own(own: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_site("baskervile")
    assert "did you mean 'baskerville'?" in str(caught.value)
    assert f"{own}/NAME.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: mine\n", "extends itself"),
        ("extends: other\n", "extends itself"),
        ("extends: nowhere\n", "no site profile called .nowhere.; .*mine.yaml extends it"),
        ("extends: [a]\n", r"mine.yaml:1: extends: expected"),
        ("moduls: [a]\n", r"mine.yaml:1: unknown key 'moduls'; did you mean 'modules'"),
        (
            "\nneeds: [money]\n",
            r"mine.yaml:2: needs.0: 'money' .*valid: time, partition, acc",
        ),
        ("gpus: {h100: {per-node: 4}}\n", r"unknown key 'gpus.h100.per-node'; .*'per_node'"),
        ("network: wet\n", "valid: infiniband, slingshot, ethernet, unknown"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_a_mistake_in_a_profile_is_said_with_its_place(own: Path, text: str, said: str) -> None:
    (own / "mine.yaml").write_text(text)
    (own / "other.yaml").write_text("extends: mine\n")
    with pytest.raises(UserError, match=said):
        load_site("mine")


def test_a_mistake_in_what_is_extended_is_blamed_on_that_file(own: Path) -> None:
    (own / "base.yaml").write_text("\n\nexclusive: perhaps\n")
    (own / "mine.yaml").write_text("extends: base\n")
    with pytest.raises(UserError, match=r"base.yaml:3: exclusive"):
        load_site("mine")


def test_a_time_needs_no_quotes(own: Path) -> None:
    (own / "mine.yaml").write_text("time: 3:00:00\n")
    assert load_site("mine").time == "3:00:00"


def test_a_file_that_is_no_text_is_said_so(own: Path) -> None:
    (own / "mine.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"site profile cannot be read: .*mine.yaml"):
        load_site("mine")


@pytest.mark.parametrize("mem", ["480GB", "lots", "-1", "480G\n"])
def test_memory_that_slurm_could_not_read_is_refused(own: Path, mem: str) -> None:
    (own / "mine.yaml").write_text(f"extends: generic\nmem: {mem!r}\n")
    with pytest.raises(UserError, match="mem"):
        load_site("mine")


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_profile_that_others_may_write_is_refused(own: Path, mode: int) -> None:
    """Its `setup` runs in every job."""
    path = own / "mine.yaml"
    path.write_text("setup: [echo hello]\n")
    path.chmod(mode)
    with pytest.raises(UserError, match="others may write") as refused:
        load_site("mine")
    assert f"chmod go-w {path}" in str(refused.value)
    path.chmod(0o644)
    assert load_site("mine").setup == ["echo hello"]


def test_another_users_profile_is_refused(own: Path) -> None:
    path = own / "mine.yaml"
    path.write_text("setup: [echo hello]\n")
    if os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    os.chown(path, 12345, -1)
    with pytest.raises(UserError, match="belongs to another user"):
        load_site("mine")


def test_a_relative_configuration_folder_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    assert config_folder() == Path("~/.config/hpclaunch").expanduser()
