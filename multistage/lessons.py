"""What the lessons are made of besides labs: small examples, and guesses."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from multistage import labs, plots
from multistage.builds import Build, build, prepare_bases, read_dockerfile
from multistage.engines import BuildRequest, Engine, choose
from multistage.errors import LearnerError, MachineError, UsageError
from multistage.given import refuse_no_words
from multistage.panels import build_panel
from multistage.shown import Shown, drawn

VIDEO = "https://www.youtube.com/watch?v=ajetvJmBvFo"
_NAME_SERVER = re.compile(r" on [\d.:\[\]a-f]+:53")
_PLAYER = "https://www.youtube-nocookie.com/embed/ajetvJmBvFo"


def video() -> Shown:
    """Return the video that the course goes with, as a player."""
    title = "Day 3/40: Multi Stage Docker Build"
    player = (
        f'<iframe width="560" height="315" src="{_PLAYER}" title="{title}" '
        f'allowfullscreen></iframe><p><a href="{VIDEO}">{title}</a></p>'
    )
    return Shown(f"{title}: {VIDEO}", player)


class Example:
    """A small Dockerfile of a lesson. Its folder, below ``examples/``, is its build context.

    Raises:
        UsageError: there is no such example.
    """

    def __init__(self, name: str, engine: str | None = None) -> None:
        self.name, self.folder = name, labs.ROOT / "examples" / name
        self.path = self.folder / "Dockerfile"
        if not self.path.is_file():
            raise UsageError(f"There is no example called {name}.", mend="Look into examples/.")
        self._engine_name = engine
        self._build: Build | None = None

    def __repr__(self) -> str:
        return f"examples/{self.name}/Dockerfile"

    @property
    def engine(self) -> Engine:
        """The engine that builds."""
        return choose(self._engine_name)

    def dockerfile(self) -> Shown:
        """Return the file's text."""
        return Shown(self.path.read_text("utf-8").rstrip())

    def graph(self, target: str | None = None) -> Shown:
        """Return the stages and what each takes from which, as a figure."""
        return drawn(plots.stage_graph(read_dockerfile(self.path, self.folder), target))

    def build(self, target: str | None = None) -> Build:
        """Build and measure it."""
        model = read_dockerfile(self.path, self.folder)
        with build_panel(f"Building {self.name}", model, target) as panel:
            self._build = build(
                self.engine, self.folder, tag=self._tag(target), target=target,
                report=panel.report, announce=panel.announce,
            )  # fmt: skip
        return self._build

    def error(self, target: str | None = None) -> Shown:
        """Build it and return what the engine says when that fails, in the engine's own words.

        Raises:
            UsageError: it builds.
        """
        with suppress(LearnerError):  # what the course itself would say
            model = read_dockerfile(self.path, self.folder)
            prepare_bases(self.engine, model, target, lambda _line: None)
        try:
            self.engine.build(BuildRequest(self.folder, self.path, self._tag(target), target))
        except (LearnerError, MachineError) as error:
            line = error.where.rpartition(":")[2]
            said = _NAME_SERVER.sub("", error.said or error.what)  # its address teaches nothing
            return Shown(f"line {line}: {said}" if line.isdigit() else said)
        raise UsageError(f"The example {self.name} builds.", mend="Use .build() for it.")

    def run(self, *command: str) -> Shown:
        """Run a command in its image, or without one what the image itself starts."""
        refuse_no_words(command)
        image = (self._build or self.build()).image_id
        finished = self.engine.run_command(image, list(command))
        said = finished.output.strip() or "no output"
        return Shown(said if finished.exit_code == 0 else f"exit code {finished.exit_code}: {said}")

    def _tag(self, target: str | None) -> str:
        name = self.name.replace("/", "-")
        return f"multistage/example-{name}:{target.lower() if target else 'latest'}"


@dataclass(frozen=True, repr=False)
class Guess:
    """A guess that is kept until it can be held to a measurement."""

    what: str
    value: object

    def __repr__(self) -> str:
        return f"Your guess: {self.what}: {self.value}"

    def reveal(self, measured: object) -> Shown:
        """Return the guess beside what was measured."""
        if isinstance(measured, int | float):
            return Shown(f"{self.what}: you guessed {self.value}, measured {measured:,}")
        return Shown(f"{self.what}: you guessed {self.value}. What came: {measured}")


def predict(what: str, value: object) -> Guess:
    """Keep a guess, to be shown beside the measurement with ``reveal``."""
    return Guess(what, value)
