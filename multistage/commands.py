"""What each command does: returns its JSON document, and shows it unless JSON was asked for."""

from __future__ import annotations

import stat
import sys
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistage import bases, engines, labs, record, terminal
from multistage.builds import Build, prepare_bases, read_dockerfile, read_image
from multistage.builds import build as build_and_measure
from multistage.errors import LearnerError, MachineError, UsageError
from multistage.files import mode_of
from multistage.images import attribute, final_files, folders, is_made_by, read_path
from multistage.written import refuse_other_archive, refuse_other_figure, save_figure

if TYPE_CHECKING:
    from multistage.dockerfile import Dockerfile


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command found: its JSON document and the exit code."""

    document: dict[str, Any]
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is to be built: a lab, or any folder with a Dockerfile."""

    name: str
    context: Path
    dockerfile: Path
    lab: labs.LabFolder | None = None

    def tag(self, which: str) -> str:
        return f"multistage/{self.name}:{which}"


def doctor(options: Namespace) -> Outcome:
    """Say which engine will be used, which others work, and why the rest do not."""
    states = engines.probe()
    chosen = next((state.name for state in states if state.available), None)
    recipes = {r: bases.is_built(r) for recipe in bases.recipes() for r in recipe.references}
    in_use = _stand_ins_in_use(chosen, recipes)
    if not options.json:
        terminal.doctor(states, chosen, recipes, in_use)
    document = {
        "chosen": chosen,
        "engines": [asdict(state) for state in states],
        "stand_ins": bool(in_use),
        "stand_in_bases": [
            {"name": name, "built": built, "in_use": name in in_use}
            for name, built in recipes.items()
        ],
    }
    return Outcome(document, 0 if chosen else 3)


def _stand_ins_in_use(chosen: str | None, recipes: dict[str, bool]) -> list[str]:
    if chosen is None:
        return []
    engine = engines.choose(chosen)
    return [name for name in recipes if bases.is_stand_in(name, engine.labels(name) or {})]


def setup(options: Namespace) -> Outcome:
    """Fetch or build every base image that the labs and solutions name."""
    engine = engines.choose()
    globs = ("labs/*/*/Dockerfile", "solutions/*/*/Dockerfile", "examples/*/*/Dockerfile")
    files = [file for glob in globs for file in labs.ROOT.glob(glob) if not _is_broken(file)]
    ready: dict[str, bool] = {}
    for file in sorted(files):
        model = read_dockerfile(file, file.parent)
        with terminal.progress(str(file.relative_to(labs.ROOT))) as progress:
            stand_ins = prepare_bases(engine, model, None, progress.announce)
            for image in model.external_images():
                if image.name not in ready and engine.labels(image.name) is None:
                    progress.announce(f"Fetching {image.name}")
                    engine.pull(image.name)
                ready[image.name] = image.name in stand_ins
    if not options.json:
        terminal.setup(ready)
    return Outcome({"bases": [{"name": n, "stand_in": s} for n, s in ready.items()]})


def _is_broken(file: Path) -> bool:
    """Return whether a lesson shows this Dockerfile for the error that it makes."""
    return file.with_name("expected-error.txt").is_file()


def build(options: Namespace) -> Outcome:
    """Build and measure."""
    subject = _subject(options.lab, options.file, before=options.before)
    which = "before" if options.before else "after"
    built = _build(subject, which, options, target=options.target)
    if not options.json:
        terminal.build(built)
    return Outcome(built.to_json())


def compare(options: Namespace) -> Outcome:
    """Build before and after, and compare them."""
    subject = _subject(options.lab, options.file)
    if subject.lab is None:
        raise UsageError(
            f"{options.lab} is a folder: it has no before.",
            mend="Name a lab, or build the folder twice with --file.",
        )
    refuse_other_figure(options.plot)
    before_file, text = subject.lab.before_dockerfile, record.text_of(subject.dockerfile)
    as_before = _Subject(subject.name, subject.context, before_file, subject.lab)
    before = _build(as_before, "before", options)
    after = _build(subject, "after", options)
    works = record.read().works(subject.name, text)
    if options.plot is not None:
        from multistage import plots

        save_figure(options.plot, plots.compare(subject.lab.title, before, after, works=works))
    if not options.json:
        terminal.compare(subject.lab.title, before, after, works=works)
    terminal.note(record.take_note())
    ratio = after.unpacked_size / before.unpacked_size if before.unpacked_size else 0.0
    return Outcome(
        {
            "lab": subject.name,
            "before": before.to_json(),
            "after": after.to_json(),
            "ratio": round(ratio, 6),
        }
    )


def check(options: Namespace) -> Outcome:
    """Run the lab's checks on the learner's image."""
    from multistage.checks import check_lab, does_not_build
    from multistage.next_step import next_step

    subject = _subject(options.lab, options.file)
    if subject.lab is None:
        raise UsageError(f"{options.lab} is a folder: it has no checks.", mend="Name a lab.")
    text, built = record.text_of(subject.dockerfile), None
    try:
        built = _build(subject, "after", options)
        engine = engines.choose(options.engine)
        with terminal.progress(f"Checking {subject.name}") as progress:
            report = check_lab(
                engine, subject.lab, built, subject.dockerfile,
                report=progress.report, announce=progress.announce,
            )  # fmt: skip
            record.add_before(engine, subject.lab, subject.dockerfile, progress.announce)
    except LearnerError as error:
        report = does_not_build(subject.lab, error)
    note = record.add_checked(subject.lab, subject.dockerfile, text, built, report)
    if not options.json:
        terminal.check(report, options.hints, next_step(subject.lab, report))
    terminal.note(note)
    terminal.note(record.take_note())
    return Outcome(report.to_json(), 0 if report.passed else 1)


def watch(options: Namespace) -> Outcome:
    """Show after every save what is right, what is not, and what to try, until Ctrl+C."""
    from multistage.watch.terminal import watch as watch_until_stopped

    return Outcome(watch_until_stopped(options))


def inspect(options: Namespace) -> Outcome:
    """Show what is inside an image: layers, and the largest folders."""
    name, lab, model = options.image, None, None
    if mode_of(Path(name)) and not _is_lab(name):
        archive = read_path(Path(name), keep_files=True)
    else:
        if _is_lab(name):
            lab = labs.find_lab(name)
            name, model = lab.tag("after"), _readable(lab)
        engine = engines.choose(options.engine)
        if engine.labels(name) is None:
            raise UsageError(f"There is no image {name} on this engine.", mend="Build it first.")
        with terminal.progress(f"Reading {name}"):
            archive = read_image(engine, name, keep_files=True)
    layers, largest = attribute(archive, model), folders(final_files(archive))[:15]
    if not options.json:
        terminal.inspect(name, archive, layers, largest)
    if lab is not None and (model is None or not is_made_by(archive, model)):
        terminal.note(
            "The lab's Dockerfile as it is now is not the one that made this image: lines are left "
            "out where they are not known. Build again to see them."
        )
    return Outcome(
        {
            "image": name,
            "unpacked_size": archive.unpacked_size,
            "compressed_size": archive.compressed_size,
            "stand_in": bases.LABEL in archive.labels,
            "layers": [asdict(layer) for layer in layers],
            "folders": [asdict(folder) for folder in largest],
        }
    )


def _readable(lab: labs.LabFolder) -> Dockerfile | None:
    """Return the learner's Dockerfile; what is wrong with it now says nothing of an image."""
    try:
        return read_dockerfile(lab.dockerfile, lab.app)
    except (LearnerError, UsageError):
        return None


def graph(options: Namespace) -> Outcome:
    """Show a Dockerfile's stages and the edges between them."""
    path = Path(options.lab)
    is_file = stat.S_ISREG(mode_of(path))
    subject = None if is_file else _subject(options.lab, None)
    file = path if subject is None else subject.dockerfile
    model = read_dockerfile(file, file.parent)
    needed = {stage.index for stage in model.needed(options.target)}
    refuse_other_figure(options.plot)
    if options.plot is not None:
        from multistage import plots

        save_figure(options.plot, plots.stage_graph(model, options.target))
    if not options.json:
        terminal.graph(model, needed)
    return Outcome(
        {
            "file": str(file),
            "stages": [
                {
                    "name": stage.label,
                    "base": stage.base,
                    "line": stage.line,
                    "built": stage.index in needed,
                }
                for stage in model.stages
            ],
            "edges": [
                {
                    "source": edge.source
                    if isinstance(edge.source, str)
                    else model.stage(edge.source).label,
                    "target": model.stage(edge.target).label,
                    "kind": edge.kind,
                    "line": edge.line,
                    "paths": list(edge.paths),
                }
                for edge in model.edges
            ],
        }
    )


def reset(options: Namespace) -> Outcome:
    """Put the starter's Dockerfile back; keep the learner's."""
    lab = labs.find_lab(options.lab)
    kept = labs.reset(lab)
    if not options.json:
        terminal.reset(lab, kept)
    return Outcome({"lab": lab.name, "kept": str(kept) if kept else None})


def export(options: Namespace) -> Outcome:
    """Write an image as an archive that ``docker load`` takes."""
    name = options.image
    if _is_lab(name):
        name = labs.find_lab(name).tag("after")
    engine = engines.choose(options.engine)
    if engine.labels(name) is None:
        raise UsageError(f"There is no image {name} on this engine.", mend="Build it first.")
    refuse_other_archive(options.file)
    with terminal.progress(f"Writing {options.file}"):
        try:
            engine.export(name, options.file)
        except OSError as error:
            raise UsageError(
                f"The archive cannot be written: {error}.",
                where=str(options.file), mend="Name another file.",
            ) from error  # fmt: skip
    size = options.file.stat().st_size
    if not options.json:
        terminal.export(name, options.file, size)
    return Outcome({"image": name, "file": str(options.file), "size": size})


def prune(options: Namespace) -> Outcome:
    """Show what the daemonless engine no longer needs, and remove it where that was asked for."""
    if sys.platform == "win32":
        raise MachineError("The daemonless engine needs Linux: there is nothing to prune.")
    from multistage.engines.daemonless import prune as pruning

    keep = None if options.keep is None else int(options.keep * 1e9)
    found = pruning.leftovers(options.older_than, keep)
    freed = pruning.remove(found) if options.yes else 0
    if not options.json:
        terminal.prune(found, removed=options.yes)
    return Outcome(
        {
            "leftovers": [
                {"kind": leftover.kind, "name": leftover.name, "size": leftover.size}
                for leftover in found
            ],
            "freed": freed,
        }
    )


def _is_lab(name: str) -> bool:
    return name in {file.parent.name for file in labs.ROOT.glob("labs/*/lab.toml")}


def _subject(name: str, file: Path | None, *, before: bool = False) -> _Subject:
    folder = Path(name)
    if _is_lab(name) or not stat.S_ISDIR(mode_of(folder)):
        try:
            lab = labs.find_lab(name)
        except UsageError as error:
            what = f"There is no lab and no folder called {name[:60]}."
            raise UsageError(what, mend=error.mend) from error
        own = lab.before_dockerfile if before else lab.dockerfile
        return _Subject(lab.name, lab.app, file or own, lab)
    if before:
        raise UsageError(f"{name} is a folder: it has no before.", mend="Leave --before out.")
    letters = (c if c.isascii() and c.isalnum() else "-" for c in folder.resolve().name.lower())
    tag = "".join(letters).strip("-")
    return _Subject(tag or "image", folder, file or folder / "Dockerfile")


def _build(subject: _Subject, which: str, options: Namespace, target: str | None = None) -> Build:
    engine = engines.choose(options.engine)
    model = read_dockerfile(subject.dockerfile, subject.context)
    text = record.text_of(subject.dockerfile)
    with terminal.progress(f"Building {subject.tag(which)}", model, target) as progress:
        if notice := getattr(engine, "notice", ""):
            progress.announce(notice)
        built = build_and_measure(
            engine,
            subject.context,
            tag=subject.tag(f"{which}-{target.lower()}" if target else which),
            dockerfile=subject.dockerfile,
            target=target,
            secrets=tuple(options.secret),
            no_cache=options.no_cache,
            report=progress.report,
            announce=progress.announce,
        )
    if subject.lab is not None and target is None:
        record.add_measured(subject.lab, subject.dockerfile, text, built)
        terminal.note(record.take_note())
    return built
