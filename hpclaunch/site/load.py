"""Find and read site profiles and the GPU catalogue."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any

from hpclaunch.document import Document, convert, parse
from hpclaunch.errors import UserError, nearest
from hpclaunch.shipped import shipped
from hpclaunch.site.schema import GpuRequest, GpuType, Site

GENERIC = "generic"


def config_folder() -> Path:
    """Return the user's own configuration folder: `$XDG_CONFIG_HOME/hpclaunch`, or ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):  # a relative one counts as none, by its specification
        base = "~/.config"
    return Path(base).expanduser() / "hpclaunch"


def _profiles() -> dict[str, Path]:
    """Return every profile by name; the user's own win over the packaged ones."""
    found: dict[str, Path] = {}
    for folder in (shipped("site", "profiles"), config_folder() / "sites"):
        if not folder.is_dir():
            continue
        for entry in folder.iterdir():
            if entry.name.endswith((".yaml", ".yml")):
                found[entry.name.rpartition(".")[0]] = entry
    return found


def site_names() -> list[str]:
    """Return the names of all profiles that --site takes."""
    return sorted(_profiles())


def load_site(name: str) -> Site:
    """Read a profile, with what it extends under it. Raises UserError with file, line and key."""
    return convert(_extended(name, ()), Site)


def _extended(name: str, seen: tuple[str, ...]) -> Document:
    """Read a profile's document over the documents it extends."""
    profiles = _profiles()
    if name not in profiles:
        folder = config_folder() / "sites"
        named = f"; {profiles[seen[-1]]} extends it" if seen else ""
        raise UserError(
            f"no site profile called '{name}'{named}",
            f"{nearest(name, profiles)} (your own go into {folder}/NAME.yaml)",
        )
    if name in seen:
        raise UserError(f"site profile '{name}' extends itself", "remove the 'extends' line")
    source = str(profiles[name])
    if profiles[name].is_relative_to(config_folder()):
        _check_mode(profiles[name])
    try:
        text = profiles[name].read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"site profile cannot be read: {source}: {error}") from None
    document = parse(text, source)
    document.data.setdefault("name", name)
    base = document.data.get("extends")
    # A profile of the user's may bear the packaged one's name; it cannot extend itself then.
    if isinstance(base, str):
        under = _extended(base, (*seen, name))
        merged: dict[str, Any] = {**under.data, **document.data}
        merged["clusters"] = document.data.get("clusters", [])
        return Document(source, merged, {**under.origin, **document.origin})
    return document


def _check_mode(path: Path) -> None:
    """Refuse a profile that others may write: its `setup` is code. Raises UserError."""
    try:
        status = path.stat()
    except OSError:
        return  # what reads it says why
    if status.st_uid not in {os.getuid(), 0}:
        raise UserError(f"site profile {path} belongs to another user", "make a copy of your own")
    writable = 0o002 if _is_private_group(status.st_gid) else 0o022
    if status.st_mode & writable:
        raise UserError(
            f"others may write site profile {path}, which jobs run as code",
            f"chmod go-w {quote(str(path))}",
        )


def _is_private_group(number: int) -> bool:
    """Return whether a group is the user's own, with nobody else in it, as many systems make."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def site_for_cluster(cluster: str | None) -> str:
    """Return the name of the profile that claims a Slurm ClusterName, else `generic`.

    The user's own profiles are asked first: one that extends a packaged profile is meant to be
    taken in its place.
    """
    if cluster:
        own = config_folder() / "sites"
        profiles = _profiles()
        for name in sorted(profiles, key=lambda name: (profiles[name].parent != own, name)):
            site = load_site(name)
            if any(fnmatch.fnmatch(cluster.lower(), glob.lower()) for glob in site.clusters):
                return name
    return GENERIC


@cache
def gpus() -> dict[str, GpuType]:
    """Return the catalogue: GPU type to its data."""
    text = shipped("site", "gpus.yaml").read_text(encoding="utf-8")
    return convert(parse(text, "gpus.yaml"), dict[str, GpuType])


def check_gpu_type(name: str, known: Collection[str] | None = None) -> None:
    """Refuse a GPU type that is not among `known`, which is the catalogue by default.

    Raises UserError; for a name that stands for several sizes it asks which.
    """
    known = gpus() if known is None else known
    if name in known:
        return
    sizes = [kind for kind in known if re.fullmatch(rf"{re.escape(name)}(_\w+|[a-z])", kind)]
    if sizes:
        raise UserError(
            f"--gpu {name}: which one? It comes as {' and '.join(sizes)}", f"--gpu {sizes[0]}"
        )
    # A name that looks alike is of another GPU: only those with one of its numbers are listed.
    numbers = set(re.findall(r"\d+", name))
    near = [kind for kind in known if numbers & set(re.findall(r"\d+", kind))]
    raise UserError(f"--gpu {name}: no such GPU type", "valid: " + ", ".join(sorted(near or known)))


def gpu_request(site: Site, kind: str | None) -> GpuRequest:
    """Return how `site` is asked for `kind`. Raises UserError for a GPU type it does not have.

    Without a kind, a site with exactly one gives that one, others are asked by count alone.
    """
    if kind is None:
        return next(iter(site.gpus.values())) if len(site.gpus) == 1 else GpuRequest()
    if site.gpus:
        if kind not in site.gpus:
            if any(name.startswith(f"{kind}_") for name in site.gpus):
                check_gpu_type(kind, site.gpus)
            raise UserError(
                f"site {site.name} has no GPU type '{kind}'",
                "valid: " + ", ".join(sorted(site.gpus)),
            )
        return site.gpus[kind]
    check_gpu_type(kind)
    return GpuRequest()
