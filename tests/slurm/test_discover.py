"""How a cluster without a profile is asked for a GPU type."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpclaunch.errors import UserError
from hpclaunch.site.load import gpus
from hpclaunch.site.schema import GpuRequest
from hpclaunch.slurm import discover as module
from hpclaunch.slurm.discover import discover, names_gpu
from hpclaunch.slurm.nodes import NodeType, parse_types, sinfo

SINFO = """\
cpu|64|rack1,cascadelake|(null)
gpu|48+|rack2,a100-80gb,ib|gpu:4(S:0-1)
gpu|32|rack3,a100_40|gpu:4
big|96|rack4|gpu:h100:8(S:0-1),craynetwork:4
odd line
"""


def kinds() -> list[NodeType]:
    return parse_types(SINFO)


def test_rows_are_read() -> None:
    assert [(kind.partition, kind.cpus, kind.gpus) for kind in kinds()] == [
        ("cpu", 64, 0),
        ("gpu", 48, 4),
        ("gpu", 32, 4),
        ("big", 96, 8),
    ]


@pytest.mark.parametrize(
    ("kind", "request_", "cpus", "gpus"),
    [
        ("a100_80", GpuRequest(constraint="a100-80gb"), 48, 4),
        ("a100_40", GpuRequest(constraint="a100_40"), 32, 4),
        ("h100", GpuRequest(gres_type="h100"), 96, 8),
        (None, GpuRequest(), None, None),  # which nodes it will be is open
    ],
)
def test_the_clusters_own_word(
    kind: str | None, request_: GpuRequest, cpus: int | None, gpus: int | None
) -> None:
    found = discover(kind, kinds())
    assert found is not None
    assert (found.request, found.node_cpus, found.node_gpus) == (request_, cpus, gpus)


def test_a_kind_the_cluster_does_not_have() -> None:
    with pytest.raises(UserError, match="a100-80gb, a100_40, h100"):
        discover("v100", kinds())


@pytest.mark.parametrize("kind", gpus())
def test_every_type_of_the_catalogue_is_found(kind: str) -> None:
    """By a feature or a GRES type, however the site writes it, among features of other things."""
    for written in (kind, kind.upper().replace("_", "-"), f"nvidia_{kind}"):
        assert names_gpu(written)
        found = discover(kind, parse_types(f"gpu|64|rack1,{written},epyc7763,ib|gpu:4\n"))
        assert found is not None
        assert found.request == GpuRequest(constraint=written)
        found = discover(kind, parse_types(f"gpu|64|rack1|gpu:{written}:4\n"))
        assert found is not None
        assert found.request == GpuRequest(gres_type=written)
        # The cluster names its GPUs, and this one is not among them.
        with pytest.raises(UserError, match=written):
            discover("none_such", parse_types(f"gpu|64|rack1,{written}|gpu:4\n"))


@pytest.mark.parametrize("kind", ["gb200", "mi300x", "p100"])
def test_a_type_added_to_the_catalogue_is_found(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = parse_types(f"gpu|64|rack1,{kind},ib|gpu:4\n")
    known = gpus()["h100"]
    monkeypatch.setattr(module, "gpus", lambda: {**gpus(), kind: known})
    assert names_gpu(kind)
    with pytest.raises(UserError, match=kind):
        discover("h100", nodes)
    found = discover(kind, nodes)
    assert found is not None
    assert found.request == GpuRequest(constraint=kind)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        # Slurm's AutoDetect has the driver's name, in small letters and with underscores.
        ("a100_80", "nvidia_a100-sxm4-80gb"), ("a100_80", "nvidia_a100_80gb_pcie"),
        ("a100_40", "nvidia_a100-pcie-40gb"), ("h100", "nvidia_h100_80gb_hbm3"),
        ("h100_pcie", "nvidia_h100_pcie"), ("h100_nvl", "nvidia_h100_nvl"),
        ("h200", "nvidia_h200"), ("h200", "h200_141gb"), ("h200_nvl", "nvidia_h200_nvl"),
        ("h20", "nvidia_h20"), ("gh200", "nvidia_gh200_480gb"), ("gh200", "gh200_120gb"),
        ("b200", "nvidia_b200"), ("b200", "b200_192gb"), ("gb200", "nvidia_gb200"),
        ("b300", "nvidia_b300_sxm6_ac"), ("gb300", "nvidia_gb300"), ("l40s", "nvidia_l40s"),
        ("l40", "nvidia_l40"), ("l4", "nvidia_l4"), ("a40", "nvidia_a40"), ("a30", "nvidia_a30"),
        ("a10", "nvidia_a10"), ("a10g", "nvidia_a10g"), ("rtx_a6000", "nvidia_rtx_a6000"),
        ("rtx_6000_ada", "nvidia_rtx_6000_ada_generation"), ("rtx_6000_ada", "rtx6000ada"),
        ("rtx_3090", "nvidia_geforce_rtx_3090"), ("rtx_4090", "rtx4090"),
        ("rtx_5090", "geforce_rtx_5090"), ("v100_16", "tesla_v100-sxm2-16gb"),
        ("v100_32", "v100-32g"), ("v100_32", "Tesla-V100-SXM2-32GB"), ("t4", "tesla_t4"),
        ("p100_16", "tesla_p100-pcie-16gb"), ("p100_12", "p100-12g"), ("p100_16", "p100"),
        ("mi300x", "amd_instinct_mi300x_oam"), ("mi300x", "mi300"), ("mi300a", "amd_mi300a"),
        ("mi325x", "mi325"), ("a100_80", "nvidia_a100-sxm4"), ("a100_80", "NVIDIA_A100"),
        ("a100_80", "a100-80g"), ("trn1", "trn1.32xlarge"),
    ],
)  # fmt: skip
def test_a_type_is_found_as_real_clusters_write_it(kind: str, written: str) -> None:
    for row, request_ in (
        (f"gpu|64|rack1,{written},ib|gpu:4\n", GpuRequest(constraint=written)),
        (f"gpu|64|rack1|gpu:{written}:4(S:0-1)\n", GpuRequest(gres_type=written)),
    ):
        found = discover(kind, parse_types(row))
        assert found is not None
        assert found.request == request_


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("a100_40", "nvidia_a100_80gb_pcie_3g.40gb"), ("h100", "nvidia_h100_80gb_hbm3_1g.10gb"),
        ("h100", "nvidia_h100_nvl"), ("h200", "h200_nvl"), ("a100_80", "a100_3g.20gb"),
        ("v100_32", "v100s-pcie-32gb"), ("mi300x", "mi300a"), ("gh200", "gh200_144g_hbm3e"),
        ("a10", "nvidia_a10g"), ("l40", "nvidia_l40s"), ("h100", "h100_64gb"),
    ],
)  # fmt: skip
def test_a_part_of_a_gpu_or_another_model_is_not_taken_for_it(kind: str, written: str) -> None:
    with pytest.raises(UserError, match="has GPU type"):
        discover(kind, parse_types(f"gpu|64|rack1|gpu:{written}:4\n"))


def test_whole_gpus_are_found_beside_parts_of_them() -> None:
    found = discover("a100_80", parse_types("gpu|64|x|gpu:a100:2,gpu:a100_1g.5gb:14\n"))
    assert found is not None
    assert found.request == GpuRequest(gres_type="a100")


def test_a_feature_of_its_own_may_have_the_size() -> None:
    rows = "gpu|64|gpu,a100,hbm40g|gpu:4\ngpu|64|gpu,a100,hbm80g|gpu:4\n"
    found = discover("a100_80", parse_types(rows))
    assert found is not None
    assert found.request == GpuRequest(constraint="a100&hbm80g")
    assert len(found.nodes) == 1
    with pytest.raises(UserError, match="no node of this cluster has GPU type 'v100_32'"):
        discover("v100_32", parse_types("gpu|64|V100,GPU_MEM:16GB|gpu:4\n"))


def test_a_variant_is_found_by_its_familys_name_where_no_other_is_told_apart() -> None:
    found = discover("mi300x", parse_types("gpu|64|MI300|gpu:4\n"))
    assert found is not None and found.request == GpuRequest(constraint="MI300")
    with pytest.raises(UserError, match="mi300a"):
        discover("mi300x", parse_types("gpu|64|mi300|gpu:4\nother|64|mi300a|gpu:4\n"))


@pytest.mark.parametrize("feature", ["rack1", "epyc7763", "cascadelake", "ib", "ssd2", "node12"])
def test_a_feature_of_something_else_is_no_gpu(feature: str) -> None:
    assert not names_gpu(feature)


def test_a_cluster_that_says_nothing_of_gpus() -> None:
    assert discover("h100", parse_types("cpu|64|rack1|(null)\n")) is None


def test_a_cluster_with_nameless_gpus_is_asked_by_count() -> None:
    found = discover("h100", parse_types("gpu|64|rack1|gpu:8\n"))
    assert found is not None
    assert found.request == GpuRequest()
    assert found.node_gpus == 8


TWO_PARTITIONS = "gpu|64|a100|gpu:a100:2\nhopper|192|h100|gpu:h100:8\n"


@pytest.mark.parametrize(
    ("partition", "cpus", "gpus", "most"),
    [
        ("hopper", 192, 8, 8),
        ("gpu", 64, 2, 2),
        ("gpu,hopper", None, None, 8),
        (None, None, None, 8),
    ],
)
def test_only_the_partitions_nodes_are_in_question(
    partition: str | None, cpus: int | None, gpus: int | None, most: int
) -> None:
    found = discover(None, parse_types(TWO_PARTITIONS), partition)
    assert found is not None
    assert (found.node_cpus, found.node_gpus, found.most_gpus) == (cpus, gpus, most)


def test_a_kind_that_another_partition_has() -> None:
    with pytest.raises(UserError, match=r"partition gpu has GPU type 'h100'; .*types: a100"):
        discover("h100", parse_types(TWO_PARTITIONS), "gpu")
    assert discover("h100", parse_types(TWO_PARTITIONS), "typo") is None  # Slurm will say so


def test_a_familys_plain_name_serves_where_sizes_are_not_told_apart() -> None:
    found = discover("a100_80", parse_types(TWO_PARTITIONS))
    assert found is not None
    assert found.request == GpuRequest(constraint="a100")
    with pytest.raises(UserError, match="a100_80"):
        discover("a100_80", parse_types("g|64|a100|gpu:2\nh|64|a100_40gb|gpu:2\n"))


def test_nodes_alike_in_gpus_alone_leave_their_cores_open() -> None:
    found = discover(None, parse_types("g|64||gpu:4\ng|48||gpu:4\n"))
    assert found is not None
    assert (found.node_cpus, found.node_gpus) == (None, 4)


@given(st.text())
def test_any_answer_is_survived(text: str) -> None:
    for kind in parse_types(text):
        assert kind.gpus >= 0


def test_the_partition_is_named_to_sinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden partition is listed to those who name it."""
    command = tmp_path / "sinfo"
    command.write_text(
        '#!/bin/bash\ncase "$*" in *--partition=secret*) '
        "echo 'secret|64|(null)|gpu:a100_40:4|512000|4|infinite';; esac\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert sinfo().types == ()
    (node,) = sinfo("secret").types
    assert (node.partition, node.gpus, node.memory_mib, node.count) == ("secret", 4, 512000, 4)
    assert (node.default, node.time_limit) == (False, None)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("infinite", None), ("n/a", None), ("30:00", 1800), ("1:00:00", 3600), ("2-00:00:30", 172830)],
)
def test_a_partitions_time_limit(written: str, seconds: int | None) -> None:
    (node,) = parse_types(f"gpu*|64|(null)|gpu:4|512000+|4|{written}\n")
    assert node.time_limit_s == seconds
    assert node.default
