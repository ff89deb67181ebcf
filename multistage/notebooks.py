"""What the notebooks call: a lab's builds, figure and checks, shown where the cell is."""

from __future__ import annotations

import html
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistage import labs
from multistage.builds import Build, build
from multistage.engines import Engine, Finished, choose
from multistage.images import Folder, final_files, folders, left_behind, read_archive
from multistage.progress import BuildProgress
from multistage.units import megabytes, seconds, times_smaller

if TYPE_CHECKING:
    from multistage.checks import Answer

_REDRAW = 0.2  # seconds between two drawings of a running build


class Shown:
    """A result that shows itself in a notebook: text everywhere, HTML where there is room."""

    def __init__(self, text: str, rich: str | None = None, image: bytes | None = None) -> None:
        self._bundle: dict[str, Any] = {"text/plain": text}
        if rich is not None:
            self._bundle["text/html"] = rich
        if image is not None:
            self._bundle["image/png"] = image

    def __str__(self) -> str:
        return str(self._bundle["text/plain"])

    __repr__ = __str__

    def _repr_mimebundle_(self, **_options: object) -> dict[str, Any]:
        return self._bundle


class Lab:
    """A lab, for use in its notebook.

    Raises:
        UsageError: there is no lab of that name.
        MachineError: no engine works on this machine.
    """

    def __init__(self, name: str, engine: str | None = None) -> None:
        self.folder = labs.find_lab(name)
        self._engine_name = engine
        self._engine: Engine | None = None
        self._before: Build | None = None
        self._after: Build | None = None
        self._guess: float | None = None

    def __repr__(self) -> str:
        return f"{self.folder.title} ({self.folder.name})"

    @property
    def engine(self) -> Engine:
        """The engine that builds, chosen at first use."""
        if self._engine is None:
            self._engine = choose(self._engine_name)
        return self._engine

    def dockerfile(self) -> Shown:
        """Return the learner's Dockerfile as it is now."""
        return Shown(self.folder.dockerfile.read_text("utf-8").rstrip())

    def predict(self, guess_in_megabytes: float) -> Shown:
        """Keep a guess at the before image's unpacked size, to be shown beside the measurement."""
        self._guess = guess_in_megabytes * 1e6
        return Shown(f"Your guess: {megabytes(int(self._guess))}.")

    def build_before(self) -> Build:
        """Build and measure the single-stage image that the lab starts from."""
        dockerfile = self.folder.before_dockerfile
        self._before = self._build("before", dockerfile)
        return self._before

    def build(self, *, target: str | None = None) -> Build:
        """Build and measure the learner's Dockerfile."""
        built = self._build("after", self.folder.dockerfile, target)
        if target is None:
            self._after = built
        if not built.is_multistage:
            print("Not converted yet: this Dockerfile still has one stage.")
        return built

    def reveal(self) -> Shown:
        """Return the guess beside the measurement."""
        size = self._measured_before().unpacked_size
        if self._guess is None:
            return Shown(f"Measured: {megabytes(size)} unpacked.")
        guess = int(self._guess)
        verdict = times_smaller(size, guess) if guess else "nothing"
        return Shown(
            f"You guessed {megabytes(guess)}; measured: {megabytes(size)} unpacked. "
            f"The guess is {verdict}." if guess else f"Measured: {megabytes(size)} unpacked."
        )  # fmt: skip

    def compare(self) -> Shown:
        """Return before and after as a figure."""
        from multistage import plots

        before, after = self._measured_before(), self._measured_after()
        title = self.folder.title
        buffer = io.BytesIO()
        plots.compare(title, before, after).savefig(buffer, format="png", dpi=200)
        text = plots.compare_alt_text(title, before, after)
        return Shown(text, _image_with_alt_text(buffer.getvalue(), text), buffer.getvalue())

    def check(self) -> Shown:
        """Run the lab's checks, and return the checklist with a hint for each that fails."""
        from multistage.checks import check_lab

        report = check_lab(self.engine, self.folder, self._measured_after())
        lines = []
        for check in report.checks:
            lines.append(f"{'✓' if check.passed else '✗'} {check.title}. {check.message}")
            if check.hint:
                lines.append(f"    Hint: {check.hint}")
        done = sum(check.passed for check in report.checks)
        lines.append(f"{done} of {len(report.checks)} checks passed.")
        return Shown("\n".join(lines))

    def left_behind(self, rows: int = 8) -> Shown:
        """Return the largest folders of the before image that the after image is without."""
        before = self._files(self._measured_before().image)
        after = self._files(self._measured_after().image)
        gone = left_behind(before, after)
        if not self._measured_after().is_multistage:
            return Shown("Not converted yet: nothing is left behind.")
        text = f"{len(gone):,} files, {megabytes(sum(gone.values()))}, stayed in the builder stage."
        return Shown("\n".join([text, *_rows(folders(gone), rows)]))

    def inside(self, which: str = "before", rows: int = 8) -> Shown:
        """Return the largest folders of the before or the after image."""
        build = self._measured_before() if which == "before" else self._measured_after()
        files = self._files(build.image)
        return Shown("\n".join([str(build), *_rows(folders(files), rows)]))

    def ask(self, path: str) -> Shown:
        """Run the after image, send it one request, and return what it answered."""
        from multistage import checks

        image = self._measured_after().image
        environment = checks.upstream_environment(checks.reachable_upstream())
        with self.engine.run(image, self.folder.port, environment) as container:
            checks.wait_until_it_answers(container)
            answer: Answer = checks.ask(container.address, path)
        return Shown(f"{answer.status}: {answer.text.strip()[:500]}")

    def run(self, *command: str) -> Finished:
        """Run a command in the after image; a command it does not have is an answer too."""
        return self.engine.run_command(self._measured_after().image, list(command))

    def try_dockerfile(self, folder: str) -> Build:
        """Build and measure a Dockerfile of the course, by its folder, over the lab's app.

        The image becomes the lab's after image until the next :meth:`build`.
        """
        self._after = self._build("tried", labs.ROOT / folder / "Dockerfile")
        return self._after

    def _measured_before(self) -> Build:
        return self._before or self.build_before()

    def _measured_after(self) -> Build:
        return self._after or self.build()

    def _files(self, image: str) -> dict[str, int]:
        with self.engine.save(image) as stream:
            return final_files(read_archive(stream, image, keep_files=True))

    def _build(self, which: str, dockerfile: Path, target: str | None = None) -> Build:
        with _drawn(f"Building {which}") as progress:
            return build(
                self.engine,
                self.folder.app,
                tag=self.folder.tag(which),
                dockerfile=dockerfile,
                target=target,
                report=progress.report,
                announce=progress.announce,
            )


def _rows(found: tuple[Folder, ...], rows: int) -> list[str]:
    return [f"{megabytes(f.unpacked_size):>9}  {f.files:>6,} files  {f.path}" for f in found[:rows]]


def _image_with_alt_text(png: bytes, text: str) -> str:
    import base64

    data = base64.b64encode(png).decode("ascii")
    return (
        f'<img alt="{html.escape(text)}" width="800" '
        f'style="max-width:100%" src="data:image/png;base64,{data}">'
    )


@contextmanager
def _drawn(title: str) -> Iterator[BuildProgress]:
    """Draw a build's progress in the cell's output, at most a few times a second."""
    from IPython.display import display

    handle = display(Shown(f"{title} …"), display_id=True)
    last = 0.0

    def draw(progress: BuildProgress) -> None:
        nonlocal last
        if handle is not None and time.monotonic() - last > _REDRAW:
            last = time.monotonic()
            handle.update(Shown("\n".join([progress.status(), *progress.lines()])))

    progress = BuildProgress(title, draw)
    try:
        yield progress
    except BaseException:
        if handle is not None:
            text = f"{title}: stopped after {seconds(progress.seconds)}"
            with suppress(Exception):  # the kernel may be going away
                handle.update(Shown("\n".join([text, *progress.lines()])))
        raise
    if handle is not None:
        handle.update(Shown("\n".join([progress.summary(), *progress.notes])))
