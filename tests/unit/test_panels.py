"""The build panel and what it is a view of: a build's events as text, as HTML, on a terminal."""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
import time
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from rich.console import Console

from multistage import panels, terminal
from multistage.dockerfile import Dockerfile, DockerfileError, parse
from multistage.engines.events import Event, Step, StepFinished, StepLog, StepStarted
from multistage.panels import build_panel, log_html, panel_html
from multistage.plots.style import COLOURS
from multistage.progress import BuildProgress
from tests.unit.made import ROOT

THREE_STAGES = """\
FROM node:24-alpine AS builder
WORKDIR /app
RUN npm run build
FROM builder AS test
RUN npm test
FROM nginx:alpine
COPY --from=builder /app/dist /usr/share/nginx/html
"""
BASE = Step("1", "[builder 1/3] FROM node:24-alpine", "builder", 1, 3)
FOLDER = Step("2", "[builder 2/3] WORKDIR /app", "builder", 2, 3)
RUN = Step("3", "[builder 3/3] RUN npm run build", "builder", 3, 3)
NGINX = Step("4", "[stage-2 1/2] FROM nginx:alpine", "stage-2", 1, 2)
COPY = Step("5", "[stage-2 2/2] COPY --from=builder /app/dist /usr/share", "stage-2", 2, 2)
EVIL = '<script>alert("x")</script>&\x1b[31m'

RUNNING: list[Event] = [
    StepStarted(BASE, 100.0),
    StepFinished(BASE, 101.0, 1.0),
    StepStarted(FOLDER, 101.0),
    StepFinished(FOLDER, 101.0, 0.0, cached=True),
    StepStarted(RUN, 102.0),
    StepLog(RUN, "vite v6\n"),
]
FINISHED: list[Event] = [
    *RUNNING,
    StepFinished(RUN, 105.0, 3.0),
    StepFinished(NGINX, 105.0, 0.0, cached=True),
    StepFinished(COPY, 105.5, 0.5),
]


class Clock:
    """A clock that stands still."""

    now = 104.0

    def __call__(self) -> float:
        return self.now


def model() -> Dockerfile:
    return parse(THREE_STAGES)


def after(events: list[Event], target: str | None = None) -> BuildProgress:
    clock = Clock()
    clock.now = 100.0
    progress = BuildProgress("Building after", model(), target, clock)
    clock.now = 104.0
    for event in events:
        progress.report(event)
    return progress


def states(progress: BuildProgress) -> dict[str, str]:
    return {stage.name: stage.state for stage in progress.stages()}


def words_of(page: str) -> str:
    """Return the text of a page, as somebody hears it who does not see it."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_before_the_first_event_stages_wait_and_those_not_needed_are_skipped() -> None:
    progress = after([])
    assert states(progress) == {"builder": "waiting", "test": "skipped", "stage 2": "waiting"}
    assert progress.steps_done() == (0, 5)


def test_a_target_decides_which_stages_are_skipped_and_how_many_steps_there_are() -> None:
    progress = after([], "test")
    assert states(progress) == {"builder": "waiting", "test": "waiting", "stage 2": "skipped"}
    assert progress.steps_done() == (0, 4)
    assert [s.role for s in progress.stages()] == [
        "builder stage",
        "builder stage",
        "runtime stage",
    ]


def test_a_target_that_is_no_stage_is_said() -> None:
    with pytest.raises(DockerfileError, match="buidler"):
        BuildProgress("Building", model(), "buidler")


def test_a_running_build_as_text_has_every_stage_and_every_step() -> None:
    assert after(RUNNING).lines() == [
        "Building after (4.0 s so far): [builder 3/3] RUN npm run build",
        "… builder (builder stage, FROM node:24-alpine): running, 2 of 3 steps, 3.0 s",
        "- test (builder stage, FROM builder): skipped: the target does not need it",
        "· stage 2 (runtime stage, FROM nginx:alpine, takes /app/dist from builder): "
        "waiting, 0 of 2 steps",
        "Steps done: 2 of 5",
        "✓ [builder 1/3] FROM node:24-alpine  done 1.0 s",
        "✓ [builder 2/3] WORKDIR /app  cached",
        "… [builder 3/3] RUN npm run build  running 2.0 s",
    ]


def test_a_stage_without_a_name_is_called_the_same_everywhere() -> None:
    progress = after(FINISHED)
    progress.report(StepLog(COPY, "copied\n"))
    for shown in ("\n".join(progress.lines()), panel_html(progress), log_html(progress)):
        assert "stage-2" not in shown
    assert [row.place for row in progress.rows()][-2:] == ["stage 2, 1/2", "stage 2, 2/2"]
    assert progress.log[-1] == "[stage 2, 2/2] copied"


def test_the_only_stage_has_its_name_at_every_step() -> None:
    for first, name in (("FROM a AS Site", "Site 2/2"), ("FROM a", "stage 0, 2/2")):
        progress = BuildProgress("Building", parse(f"{first}\nRUN x\n"))
        progress.report(StepStarted(Step("1", "[2/2] RUN x", None, 2, 2), 100))
        assert [row.place for row in progress.rows()] == [name]
        assert progress.doing == f"[{name}] RUN x"


def test_an_arrow_stands_before_a_box_that_takes_from_the_one_before_it_in_this_build() -> None:
    def arrows(text: str, target: str | None = None) -> list[bool]:
        progress = BuildProgress("Building", parse(text), target)
        assert panel_html(progress).count("→") == sum(s.follows for s in progress.stages())
        return [stage.follows for stage in progress.stages()]

    assert arrows(THREE_STAGES) == [False, False, False]  # test is skipped
    assert arrows(THREE_STAGES, "test") == [False, True, False]
    assert arrows("FROM a AS b\nFROM a\nCOPY --from=b /x /x\n") == [False, True]


def test_the_panel_says_what_the_text_says() -> None:
    progress = after(RUNNING)
    progress.announce("A stand-in is used")
    said = words_of(panel_html(progress)).replace("&quot;", '"')
    for stage in progress.stages():
        assert f"{stage.name} {stage.role}, FROM {stage.base}" in said
        assert stage.words in said
    for words in (
        progress.headline(), "Steps done: 2 of 5", "A stand-in is used",
        "builder 1/3 FROM node:24-alpine ✓ done 1.0 s", "builder 2/3 WORKDIR /app ✓ cached",
        "builder 3/3 RUN npm run build … running 2.0 s", "takes /app/dist from builder",
    ):  # fmt: skip
        assert words in said


def test_a_long_instruction_has_two_lines_and_all_of_it_in_its_title() -> None:
    long = Step("9", f"[builder 3/3] RUN {'npm run build ' * 40}", "builder", 3, 3)
    page = panel_html(after([StepStarted(long, 100)]))
    text = f"RUN {'npm run build ' * 40}"
    assert f'title="{text}"><div>{text}</div></td>' in page
    assert "-webkit-line-clamp: 2" in panels._FOLD


def test_stages_light_up_in_the_colour_of_their_role_once_they_run() -> None:
    def colours(progress: BuildProgress) -> list[str]:
        return re.findall(r"border-top-color: (#\w+)", panel_html(progress))

    assert colours(after([])) == ["#D0D4DA"] * 3
    assert colours(after(RUNNING)) == ["#CC79A7", "#D0D4DA", "#D0D4DA"]
    assert colours(after(FINISHED)) == ["#CC79A7", "#D0D4DA", "#0072B2"]
    assert panel_html(after(RUNNING)).count("multistage-running") == 1


def test_the_colours_are_those_of_the_figures() -> None:
    roles = ("builder stage", "runtime stage")
    assert {role: panels._COLOURS[role] for role in roles} == {r: COLOURS[r] for r in roles}
    assert {role: COLOURS[role] for role in roles} == terminal._STAGE_COLOURS


def test_the_interrupt_button_needs_no_kernel_that_listens() -> None:
    assert 'data-commandlinker-command="notebook:interrupt-kernel"' in panels._INTERRUPT
    assert ">Interrupt</button>" in panels._INTERRUPT


def test_a_finished_build_says_how_many_steps_and_how_many_were_cached() -> None:
    progress = after(FINISHED)
    progress.end("done")
    assert progress.headline() == "Building after: 5 steps, 2 cached, 4.0 s"
    assert states(progress) == {"builder": "done", "test": "skipped", "stage 2": "done"}
    assert progress.steps_done() == (5, 5)


def test_an_image_that_two_stages_start_from_is_a_step_of_each_in_every_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared = parse("FROM a AS b\nRUN x\nFROM c AS d\nRUN y\nFROM a\nCOPY --from=b /x /x\n")
    base = Step("1", "[b 1/2] FROM docker.io/library/a", "b", 1, 2)  # BuildKit tells it once
    run, copy = (
        Step("2", "[b 2/2] RUN x", "b", 2, 2),
        Step("3", "[stage-2 2/2] COPY --from=b /x /x", "stage-2", 2, 2),
    )
    with terminal.progress("Building", shared) as progress:
        for step in (base, run, copy):
            progress.report(StepFinished(step, 100, 0.0))
    assert progress.headline().startswith("Building: 4 steps, ")
    assert progress.steps_done() == (4, 4)
    assert [row.place for row in progress.rows()] == [
        "b 1/2", "stage 2, 1/2", "b 2/2", "stage 2, 2/2",
    ]  # fmt: skip
    assert [s.words for s in progress.stages() if s.state != "skipped"] == [
        "done, 2 of 2 steps, 0.0 s"
    ] * 2
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_an_engine_that_tells_a_shared_image_for_each_stage_is_not_counted_twice() -> None:
    shared = parse("FROM a AS b\nFROM a\nCOPY --from=b /x /x\n")
    progress = BuildProgress("Building", shared)
    for stage, title in (("b", "b 1/1"), ("stage-1", "stage-1 1/2")):
        step = Step(title, f"[{title}] FROM a", stage, 1, 2)
        progress.report(StepFinished(step, 100, 0.0))
        assert len(progress.rows()) == 2


def test_a_stage_is_cached_when_all_of_it_is() -> None:
    cached: list[Event] = [StepFinished(s, 100, 0, cached=True) for s in (BASE, FOLDER, RUN)]
    (builder, *_) = after(cached).stages()
    assert builder.words == "cached, 3 of 3 steps"


def test_an_interrupted_build_stays_readable_and_its_clock_stands() -> None:
    clock = Clock()
    progress = BuildProgress("Building after", model(), None, clock)
    for event in RUNNING:
        progress.report(event)
    clock.now = 105.0
    progress.end("stopped")
    clock.now = 999.0
    assert progress.headline() == "Building after: stopped after 1.0 s"
    assert progress.lines()[-1] == "■ [builder 3/3] RUN npm run build  stopped 3.0 s"
    assert states(progress)["builder"] == "stopped"


def test_a_step_that_another_ones_failure_ended_has_not_failed_itself() -> None:
    progress = after(
        [
            *RUNNING,
            StepFinished(RUN, 103.0, 1.0, error="exit code: 1"),
            StepFinished(NGINX, 103.0, 1.0, error="failed to solve: context canceled"),
        ]
    )
    progress.end("failed")
    assert states(progress) == {"builder": "failed", "test": "skipped", "stage 2": "stopped"}
    assert progress.headline().startswith("Building after: failed after")


def test_text_from_dockerfiles_and_logs_is_never_html() -> None:
    hostile = parse(f'FROM "{EVIL}" AS builder\nRUN x\n')
    progress = BuildProgress(EVIL, hostile)
    step = Step("1", f"[builder 2/2] RUN {EVIL}", None, 2, 2)
    for event in (StepStarted(step, 100), StepLog(step, EVIL), StepLog(Step("x", EVIL), EVIL)):
        progress.report(event)
    progress.announce(EVIL)
    for page in (panel_html(progress), log_html(progress)):
        assert "<script" not in page
        assert "\x1b" not in page
        assert "&lt;script&gt;" in page
        assert 'alert("' not in page


def test_the_log_is_the_last_lines_and_a_long_line_is_cut() -> None:
    progress = after([])
    progress.report(StepLog(RUN, "".join(f"line {n}\n" for n in range(5000)) + "x" * 10**6))
    assert len(progress.log) == 200
    assert progress.log[-2] == "[builder 3/3] line 4999"
    assert len(progress.log[-1]) < 600
    assert "line 4800\n" not in log_html(progress)
    assert "line 4801\n" in log_html(progress)


def test_of_a_progress_bar_the_log_keeps_what_it_shows_in_the_end() -> None:
    progress = after([])
    progress.report(StepLog(RUN, "10 %\r50 %\r100 %\r\nready\r\n"))
    assert list(progress.log) == ["[builder 3/3] 100 %", "[builder 3/3] ready"]


def test_without_a_model_the_steps_are_counted_from_what_the_engine_says() -> None:
    progress = BuildProgress("Building")
    for event in RUNNING:
        progress.report(event)
    assert progress.stages() == []
    assert progress.steps_done() == (2, 3)


def test_many_events_are_drawn_a_few_times_a_second() -> None:
    drawings: list[float] = []
    progress = BuildProgress("Building", model())
    began = time.monotonic()
    with panels.repeated(lambda _count: drawings.append(time.monotonic())):
        while time.monotonic() < began + 0.7:
            progress.report(RUNNING[0])
    assert 1 <= len(drawings) <= 3
    assert all(b - a >= panels.REDRAW * 0.9 for a, b in itertools.pairwise(drawings))
    assert not [thread for thread in threading.enumerate() if thread.name == "build panel"]


def test_the_log_is_folded_by_an_element_that_is_never_drawn_anew() -> None:
    assert "<details class=" in panels._FOLD
    assert "<details" not in panel_html(after(RUNNING)) + log_html(after(RUNNING))
    assert ".multistage-log { display: none; }" in panels._FOLD


def on_a_terminal(progress: BuildProgress) -> str:
    console = Console(file=io.StringIO(), width=110, force_terminal=True, color_system=None)
    console.print(terminal.drawn(progress))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_a_terminal_shows_what_the_panel_shows() -> None:
    progress = after(RUNNING)
    shown = on_a_terminal(progress)
    headline, *stages = progress.lines()[:4]
    assert [line[:100] for line in (headline, *stages) if line[:100] not in shown] == []
    assert "Steps done: 2 of 5" in shown
    assert re.search(r"builder 3/3 +RUN npm run build +… running +2.0 s", shown)
    assert re.search(r"builder 2/3 +WORKDIR /app +✓ cached", shown)


def test_no_step_can_steer_the_terminal_or_take_more_than_a_line() -> None:
    step = Step("1", "[builder 1/1] RUN [red]\x1b[2J" + "x" * 500, "builder", 1, 1)
    shown = on_a_terminal(after([StepStarted(step, 100)]))
    assert "\x1b[2J" not in shown
    assert "[red]" in shown
    assert max(map(len, shown.splitlines())) <= 110


def test_in_a_log_file_each_step_has_a_line_and_the_build_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with terminal.progress("Building after", model()) as progress:
        for event in FINISHED:
            progress.report(event)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "✓ [builder 1/3] FROM node:24-alpine  done 1.0 s", "✓ [builder 2/3] WORKDIR /app  cached",
    ]  # fmt: skip
    assert len(lines) == 6
    assert lines[-1].startswith("Building after: 5 steps, 2 cached, ")


def test_outside_of_a_notebook_the_panel_is_the_terminals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with build_panel("Building after", model()) as panel:
        for event in FINISHED:
            panel.report(event)
    assert "✓ [builder 3/3] RUN npm run build  done 3.0 s" in capsys.readouterr().err


IN_A_KERNEL = """\
import os, signal, sys, threading, time
from multistage.panels import build_panel
from tests.unit.test_panels import FINISHED, RUNNING, model
"""
DONE = "with build_panel('Building <i>', model()) as panel: [panel.report(e) for e in FINISHED]"
INTERRUPTED = """\
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
with build_panel("Building after", model()) as panel:
    [panel.report(event) for event in RUNNING]
    time.sleep(30)
"""


@pytest.mark.slow
def test_in_a_kernel_the_title_is_stored_and_an_interrupt_is_one_line() -> None:
    v4: Any = nbformat.v4  # it has no types
    cells = [v4.new_code_cell(source) for source in (IN_A_KERNEL, DONE, INTERRUPTED)]
    notebook = v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True)
    client.resources = {"metadata": {"path": str(ROOT)}}
    began = time.monotonic()
    client.execute()
    assert time.monotonic() - began < 25
    (shown,), (panel, error) = cells[1].outputs, cells[2].outputs
    assert shown.data["text/plain"] == "Building <i>"
    assert panel.data["text/plain"] == "Building after"
    assert error.ename == "BuildInterrupted"
    assert error.traceback == ["Interrupted. Nothing is left running."]
    pages = json.dumps(client.widget_state)
    assert "Building &lt;i&gt;: 5 steps, 2 cached" in pages
    assert "Building after: stopped after" in pages
