"""Builds a stand-in from its recipe, once, into the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from multistage.bases import image, sources
from multistage.bases.recipe import LABEL, Recipe, find_recipe
from multistage.bases.tree import Tree, add_merged_links
from multistage.errors import MachineError, UsageError

Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StandIn:
    """A stand-in that is built.

    Attributes:
        name: its recipe's name.
        archive: the image archive, which ``docker load`` takes.
        recipe_digest: what it was made by; another digest means that it is out of date.
        image_id: the digest of its config.
        sources: the packages it is made of, with their versions.
    """

    name: str
    archive: Path
    recipe_digest: str
    image_id: str
    sources: tuple[str, ...]


def cache_folder() -> Path:
    """Return the folder that keeps stand-ins, for this user alone."""
    return user_cache_path("multistage-course") / "bases"


def is_built(reference: str) -> bool:
    """Return whether an up-to-date stand-in for an image lies in the cache."""
    recipe = find_recipe(reference)
    return recipe is not None and _is_made(folder_of(recipe))


def _is_made(folder: Path) -> bool:
    try:
        return (folder / "image.json").is_file()
    except OSError:  # nobody may look there: to make it says what is wrong
        return False


def stand_in(reference: str, announce: Announce = lambda _line: None) -> StandIn:
    """Return the stand-in for an image, built if need be.

    Raises:
        UsageError: there is no recipe for the image.
        MachineError: no apt-get, no network, no disk space, or no cache folder to write to.
    """
    recipe = find_recipe(reference)
    if recipe is None:
        raise UsageError(f"There is no stand-in recipe for {reference}.")
    return _built(recipe, announce)


def _built(recipe: Recipe, announce: Announce) -> StandIn:
    folder = folder_of(recipe)
    if not _is_made(folder):
        parent = _built(recipe.parent, announce) if recipe.parent else None
        try:
            with _whole_or_nothing(folder) as scratch:
                _build(recipe, parent, scratch, announce)
        except (OSError, subprocess.CalledProcessError) as error:
            raise MachineError(
                f"The stand-in {recipe.name} could not be made: {error}.",
                mend="Check the free disk space, then try again.",
            ) from error
    known = json.loads((folder / "image.json").read_text("utf-8"))
    return StandIn(
        recipe.name, folder / "image.tar", known["recipe"], known["id"], tuple(known["sources"])
    )


def folder_of(recipe: Recipe) -> Path:
    """Return where a recipe's stand-in lies, or would lie, in the cache."""
    return cache_folder() / f"{recipe.name}-{_key(recipe)[:16]}"


def _key(recipe: Recipe) -> str:
    """Return what a stand-in depends on: its recipe, this machine and its certificates."""
    parts = [recipe.digest, sources.machine()]
    if recipe.ca_certificates or recipe.parent:
        parts.append(hashlib.sha256(ca_certificates()).hexdigest())
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


@contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a scratch folder that becomes ``folder`` when the block succeeds."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise MachineError(
            f"A stand-in base could not be made: {error.strerror}.", where=str(folder.parent),
            mend="Make this folder writable, or name another cache folder in XDG_CACHE_HOME.",
        ) from error  # fmt: skip
    try:
        yield scratch
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first, with the same content
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _build(recipe: Recipe, parent: StandIn | None, folder: Path, announce: Announce) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    tree = Tree(recipe.keep, recipe.drop)
    made_of = [*(parent.sources if parent else ())]
    if recipe.packages:
        made_of += _add_packages(recipe, tree, scratch, announce)
    for place, wheel in enumerate(recipe.wheels, 1):
        announce(
            f"  {recipe.name}: {wheel.requirement} ({place} of {len(recipe.wheels)} from PyPI)"
        )
        tree.add_wheel(sources.wheel(wheel.requirement, wheel.libc, scratch), scratch, wheel.moves)
        made_of.append(wheel.requirement.replace("==", " "))
    for specification, target in recipe.npm.items():
        announce(f"  {recipe.name}: {specification} from npm")
        tree.add_tgz(sources.npm_package(specification, scratch), scratch, target)
        made_of.append(specification.replace("@", " "))
    _finish_tree(recipe, tree, scratch)
    announce(f"  {recipe.name}: writing the image")
    layers = [*_parent_layers(parent)]
    layers.append(image.write_layer(tree.write, folder / "layer.tar.gz", _created_by(recipe)))
    labels = {
        LABEL: recipe.name,
        image.RECIPE_LABEL: recipe.digest,
        image.SOURCES_LABEL: "; ".join(made_of),
    }
    config = image.config(layers, recipe.config, labels, sources.machine())
    with (folder / "image.tar").open("wb") as out:
        identifier = image.write_archive(out, layers, config, recipe.references)
    shutil.rmtree(scratch)
    known = {
        "id": identifier,
        "recipe": recipe.digest,
        "sources": made_of,
        "layers": [[layer.digest, layer.diff_id, layer.created_by] for layer in layers],
    }
    (folder / "image.json").write_text(json.dumps(known), "utf-8")


def _created_by(recipe: Recipe) -> str:
    return f"stand-in {recipe.name}: {recipe.differs or 'made from packages'}"


def _parent_layers(parent: StandIn | None) -> list[image.LayerFile]:
    if parent is None:
        return []
    known = json.loads(parent.archive.with_name("image.json").read_text("utf-8"))
    # A parent has one layer file of its own; what it builds on itself is found the same way.
    folders = [f.parent for f in cache_folder().glob("*/layer.tar.gz")]
    files = {}
    for folder in folders:
        if (folder / "image.json").is_file():
            own = json.loads((folder / "image.json").read_text("utf-8"))["layers"][-1]
            files[own[0]] = folder / "layer.tar.gz"
    return [
        image.LayerFile(files[digest], digest, diff, by) for digest, diff, by in known["layers"]
    ]


def _add_packages(recipe: Recipe, tree: Tree, scratch: Path, announce: Announce) -> list[str]:
    announce(f"  {recipe.name}: Debian's package lists")
    apt = sources.apt(scratch / "apt")
    apt.update()
    announce(f"  {recipe.name}: downloading Debian packages")
    packages = apt.download(recipe.packages, scratch / "debs")
    status = []
    for place, package in enumerate(packages, 1):
        announce(f"  {recipe.name}: package {place} of {len(packages)}, {package.stem}")
        status.append(tree.add_deb(package, scratch))
    if not recipe.keep:
        tree.add_bytes("var/lib/dpkg/status", _dpkg_status(status))
    wanted = [name for name in recipe.packages if not name.startswith("?")]
    return [f"Debian {sources.RELEASE}: {', '.join(wanted)}"]


def _dpkg_status(controls: list[str]) -> bytes:
    """Return dpkg's list of installed packages: dpkg(1), /var/lib/dpkg/status."""
    paragraphs = []
    for control in controls:
        first, rest = control.split("\n", 1)
        paragraphs.append(f"{first}\nStatus: install ok installed\n{rest.rstrip()}\n")
    return "\n".join(paragraphs).encode()


def _finish_tree(recipe: Recipe, tree: Tree, scratch: Path) -> None:
    """Add what no package brings: merged /usr, busybox's links, certificates, the recipe's own."""
    if recipe.parent is None:
        add_merged_links(tree)
    if recipe.busybox:
        for applet in _busybox_applets(tree, scratch):
            if applet not in tree.entries:
                tree.add_link(applet, "/bin/busybox")
    if recipe.ca_certificates:
        tree.add_bytes(recipe.ca_certificates, ca_certificates())
    for path in ("passwd", "group"):
        master = f"usr/share/base-passwd/{path}.master"
        if master in tree.entries:
            tree.add_bytes(f"etc/{path}", tree.content(master))
    for path, mode in recipe.folders.items():
        tree.add_folder(path, mode)
    for path, target in recipe.links.items():
        tree.add_link(path, target)
    if (recipe.folder / "files").is_dir():
        tree.add_folder_content(recipe.folder / "files")
    tree.drop_setuid()


def _busybox_applets(tree: Tree, scratch: Path) -> list[str]:
    """Ask busybox for the paths of its applets; they lie in /usr here."""
    program = scratch / "busybox"
    program.write_bytes(tree.content("usr/bin/busybox"))
    program.chmod(0o700)
    listing = subprocess.run([program, "--list-full"], capture_output=True, text=True, check=True)
    paths = (path if path.startswith("usr/") else f"usr/{path}" for path in listing.stdout.split())
    return [path for path in paths if path.startswith(("usr/bin/", "usr/sbin/"))]


def ca_certificates() -> bytes:
    """Return this machine's CA certificates as PEM, empty where it has none."""
    known = ssl.get_default_verify_paths()
    candidates = (
        os.environ.get("SSL_CERT_FILE"),
        known.cafile,
        "/etc/ssl/certs/ca-certificates.crt",
    )
    for name in candidates:
        if name and Path(name).is_file():
            return Path(name).read_bytes()
    return b""
