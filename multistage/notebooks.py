"""What the notebooks call: a lab's builds, figure and checks, shown where the cell is."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from multistage import labs, record
from multistage.builds import Build, build, read_dockerfile, read_image
from multistage.dockerfile import Dockerfile
from multistage.engines import Engine, choose, probe
from multistage.errors import LearnerError, NotPossibleHereError, UsageError
from multistage.given import refuse_no_number, refuse_no_text, refuse_no_words
from multistage.images import Folder, final_files, folders, left_behind
from multistage.panels import build_panel
from multistage.shown import Shown, drawn
from multistage.units import megabytes

if TYPE_CHECKING:
    from multistage.checks import Answer
    from multistage.watch.panel import WatchPanel

_LARGEST_GUESS = 1e6  # megabytes
_ANSWER = 300  # characters of an answer that are shown


def doctor() -> Shown:
    """Return which engine builds here, and why others do not."""
    states = probe()
    lines = []
    for state in states:
        lines.append(f"{'✓' if state.available else '✗'} {state.name}: {state.reason}")
        if state.how_to_get_it:
            lines.append(f"    {state.how_to_get_it}")
    chosen = next((state.name for state in states if state.available), None)
    lines.append(f"Builds will use: {chosen or 'no engine works on this machine'}")
    return Shown("\n".join(lines))


def stage_lines(model: Dockerfile) -> list[str]:
    """Return a Dockerfile's stages in words, and under each what it copies from others."""
    lines = []
    for stage in model.stages:
        lines.append(f"{stage.title}: FROM {stage.base} (line {stage.line})")
        for edge in model.edges:
            if edge.target == stage.index and edge.kind != "from":
                name = model.source_title(edge)
                *taken, destination = edge.paths or ("",)
                what = f"{' '.join(taken)} from {name} to {destination}"
                lines.append(f"    takes {what} (line {edge.line})")
    return lines


class Lab:
    """A lab, for use in its notebook.

    Raises:
        UsageError: there is no lab of that name.
        MachineError: no engine works on this machine.
    """

    def __init__(self, name: str, engine: str | None = None) -> None:
        self.folder = labs.find_lab(str(name))
        self._engine_name = engine
        self._engine: Engine | None = None
        self._before: Build | None = None
        self._after: Build | None = None
        self._guesses: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"{self.folder.title} ({self.folder.name})"

    @property
    def engine(self) -> Engine:
        """The engine that builds, chosen at first use."""
        if self._engine is None:
            self._engine = choose(self._engine_name)
        return self._engine

    def dockerfile(self, folder: str | None = None) -> Shown:
        """Return the learner's Dockerfile as it is now, or another one of the course."""
        path = self._of_course(folder) if folder else self.folder.dockerfile
        try:
            if not path.is_file():
                own = "lab.reset() brings yours back."
                mend = self._check_the_path if folder else own
                raise UsageError(f"There is no file {path}.", mend=mend)
            return Shown(path.read_text("utf-8", errors="replace").rstrip())
        except OSError as error:
            raise labs.unreadable(path, error) from error

    def reset(self) -> Shown:
        """Put the starter's Dockerfile back; the learner's is kept beside it."""
        kept = labs.reset(self.folder)
        note = f" Yours is kept as {kept.name}." if kept else ""
        return Shown(f"The starter's Dockerfile is back.{note}")

    def stages(self) -> Shown:
        """Return the stages of the learner's Dockerfile, and what each takes from which."""
        model = read_dockerfile(self.folder.dockerfile, self.folder.app)
        return Shown("\n".join(stage_lines(model)))

    def predict(self, before: float | None = None, after: float | None = None) -> Shown:
        """Keep guesses at the unpacked sizes, in megabytes, to be shown beside the measurements."""
        guesses = {"before": before, "after": after}
        self._guesses = {name: guess for name, guess in guesses.items() if guess is not None}
        if not all(_is_guess(guess) for guess in self._guesses.values()):
            raise UsageError("A guess is a number of megabytes.", mend="For example: before=300")
        words = [f"{name} {megabytes(round(g * 1e6))}" for name, g in self._guesses.items()]
        return Shown(f"Your guess: {', '.join(words) or 'none yet'}.")

    def build_before(self) -> Build:
        """Build and measure the single-stage image that the lab starts from."""
        dockerfile = self.folder.before_dockerfile
        self._before = self._build("before", dockerfile)
        return self._before

    def build(self, *, target: str | None = None) -> Build:
        """Build and measure the learner's Dockerfile."""
        if target is not None:
            refuse_no_text(target, "A target", 'For example: lab.build(target="build")')
        built = self._build("after", self.folder.dockerfile, target)
        if target is None:
            self._after = built
        if not built.is_multistage:
            print("Not converted yet: this Dockerfile still has one stage.")
        return built

    def reveal(self) -> Shown:
        """Return the guesses beside the measurements."""
        measured = {"before": self._measured_before}
        if self._after is not None:
            measured["after"] = self._measured_after
        lines = []
        for name, measure in measured.items():
            size = measure().unpacked_size
            guess = self._guesses.get(name)
            said = "no guess" if guess is None else f"you guessed {megabytes(round(guess * 1e6))}"
            lines.append(f"{name}: {said}, measured {megabytes(size)} unpacked")
        return Shown("\n".join(lines))

    def compare(self) -> Shown:
        """Return before and after as a figure."""
        from multistage import plots

        before, after = self._measured_before(), self._measured_after()
        works = record.read().works(self.folder.name, record.text_of(self.folder.dockerfile))
        _tell(record.take_note())
        return drawn(plots.compare(self.folder.title, before, after, works=works))

    def check(self, hints: int = 1) -> Shown:
        """Run the lab's checks, and return the checklist.

        Args:
            hints: how many for each check that fails, up to 3: a nudge, the idea, the line.
        """
        from multistage.checks import check_lab, does_not_build

        refuse_no_number(hints, "hints", "lab.check(hints=1)")
        # Always what the Dockerfile says now; with nothing changed all of it is cached.
        text, built = record.text_of(self.folder.dockerfile), None
        try:
            built = self.build()
            with build_panel("Checking") as panel:
                report = check_lab(
                    self.engine, self.folder, built,
                    report=panel.report, announce=panel.announce,
                )  # fmt: skip
                record.add_before(self.engine, self.folder, self.folder.dockerfile, panel.announce)
        except LearnerError as error:
            report = does_not_build(self.folder, error)
        note = record.add_checked(self.folder, self.folder.dockerfile, text, built, report)
        more = [f"More hints: lab.check(hints={hints + 1})"] if report.has_more(hints) else []
        return Shown("\n".join([*report.lines(hints), *more, *([note] if note else [])]))

    def watch(self) -> WatchPanel:
        """Show after every save what is right, what is not, and what to try, until ``.stop()``.

        The kernel stays free for other cells.
        """
        from multistage.watch.panel import watch

        return watch(self.folder, choose(self._engine_name))

    def left_behind(self, rows: int = 8) -> Shown:
        """Return the largest folders of the before image that the after image is without."""
        refuse_no_number(rows, "rows", "lab.left_behind(rows=8)")
        before = self._files(self._measured_before().image_id)
        after = self._files(self._measured_after().image_id)
        gone = left_behind(before, after)
        if not self._measured_after().is_multistage:
            return Shown("Not converted yet: nothing is left behind.")
        text = f"In before and not in after: {len(gone):,} files, {megabytes(sum(gone.values()))}."
        return Shown("\n".join([text, *_rows(folders(gone), rows)]))

    def inside(self, which: str = "before", rows: int = 8) -> Shown:
        """Return the largest folders of the before or the after image."""
        refuse_no_number(rows, "rows", "lab.inside(rows=8)")
        build = self._measured(which)
        files = self._files(build.image_id)
        return Shown("\n".join([str(build), *_rows(folders(files), rows)]))

    def ask(self, path: str, which: str = "after") -> Shown:
        """Run an image, send it one request, and return what it answered.

        A container that does not start, or ends at once, is an answer too.
        """
        from multistage import checks

        refuse_no_text(path, "A path", 'For example: lab.ask("/")')
        environment = checks.upstream_environment(checks.reachable_upstream())
        try:
            with self.engine.run(self._image(which), self.folder.port, environment) as container:
                checks.wait_until_it_answers(container)
                answer: Answer = checks.ask(container.address, path)
        except NotPossibleHereError as error:
            return Shown(f"Not asked: {error.what}\n{error.mend}")
        except LearnerError as error:
            return Shown(error.what)
        text = answer.text.strip()
        rest = " …" if len(text) > _ANSWER else ""
        return Shown(f"{answer.status}: {text[:_ANSWER]}{rest}")

    def user(self) -> Shown:
        """Return the user that the after image's program runs as."""
        user = read_image(self.engine, self._image("after")).user
        return Shown(user or "root: the image names no user")

    def run(self, *command: str) -> Shown:
        """Run a command in the after image; a command it does not have is an answer too."""
        if not command:
            raise UsageError("No command is named.", mend='Name one: lab.run("ls", "/")')
        refuse_no_words(command)
        finished = self.engine.run_command(self._image("after"), list(command))
        return Shown(f"exit code {finished.exit_code}: {finished.output or 'no output'}")

    def try_dockerfile(self, folder: str) -> Build:
        """Build and measure a Dockerfile of the course, by its folder, over the lab's app.

        The image becomes the lab's after image until the next :meth:`build`.
        """
        self._after = self._build("tried", self._of_course(folder))
        return self._after

    def image_id(self) -> str:
        """Return the after image's ID on its engine."""
        return self._image("after")

    def _of_course(self, folder: str) -> Path:
        given = str(folder) if isinstance(folder, PurePath) else folder
        refuse_no_text(given, "A folder", self._check_the_path)
        return labs.ROOT / folder / "Dockerfile"

    @property
    def _check_the_path(self) -> str:
        return f"Check the path, as in solutions/{self.folder.name}/{self.folder.solution}"

    def _image(self, which: str) -> str:
        return self._measured(which).image_id

    def _measured(self, which: str) -> Build:
        if which not in ("before", "after"):
            raise UsageError(f"There is no {which} image.", mend="Say before or after.")
        return self._measured_before() if which == "before" else self._measured_after()

    def _measured_before(self) -> Build:
        return self._before or self.build_before()

    def _measured_after(self) -> Build:
        return self._after or self.build()

    def _files(self, image: str) -> dict[str, int]:
        return final_files(read_image(self.engine, image, keep_files=True))

    def _build(self, which: str, dockerfile: Path, target: str | None = None) -> Build:
        model = read_dockerfile(dockerfile, self.folder.app)
        text = record.text_of(dockerfile)
        with build_panel(f"Building {which}", model, target) as panel:
            built = build(
                self.engine,
                self.folder.app,
                tag=self.folder.tag(f"{which}-{target.lower()}" if target else which),
                dockerfile=dockerfile,
                target=target,
                report=panel.report,
                announce=panel.announce,
            )
        if target is None:
            record.add_measured(self.folder, dockerfile, text, built)
            _tell(record.take_note())
        return built


def _tell(note: str) -> None:
    if note:
        print(note)


def _is_guess(guess: object) -> bool:
    return isinstance(guess, (int, float)) and 0 <= guess <= _LARGEST_GUESS


def _rows(found: tuple[Folder, ...], rows: int) -> list[str]:
    return [f"{megabytes(f.unpacked_size):>9}  {f.files:>6,} files  {f.path}" for f in found[:rows]]
