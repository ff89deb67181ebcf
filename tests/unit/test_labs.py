"""Labs: found by name and nothing else, damaged descriptions named, learners' files kept."""

import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multistage import notebooks
from multistage.dockerfile import parse
from multistage.errors import LearnerError, MachineError, UsageError
from multistage.labs import LabFolder, find_lab, keep, labs, read_lab, reset
from tests.unit.made import LAB_TOML, ROOT, SINGLE_STAGE, TWO_STAGES, write_lab

REPOSITORY_LABS = sorted(file.parent.name for file in ROOT.glob("labs/*/lab.toml"))


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    return read_lab(write_lab(tmp_path, "go") / "lab.toml")


def test_labs_come_in_the_order_of_their_notebooks_not_of_their_names(tmp_path: Path) -> None:
    for name, order in (("a", 30), ("b", 10), ("c", 20)):
        write_lab(tmp_path, name, order)
    assert [lab.name for lab in labs(tmp_path)] == ["b", "c", "a"]


def test_a_folder_without_a_description_is_no_lab(tmp_path: Path) -> None:
    write_lab(tmp_path, "go")
    (tmp_path / "labs" / "notes").mkdir()
    assert [lab.name for lab in labs(tmp_path)] == ["go"]
    with pytest.raises(UsageError):
        find_lab("notes", tmp_path)


def test_a_lab_is_read_from_its_description(lab: LabFolder) -> None:
    assert (lab.name, lab.title, lab.order, lab.port, lab.budget) == ("go", "A lab", 10, 8080, 1000)
    assert [request.path for request in lab.requests] == ["/"]
    assert [(entry.id, entry.paths) for entry in lab.absent] == [("toolchain", ("usr/local/go",))]
    assert lab.tag("before") == "multistage/go:before"
    assert lab.app == lab.folder / "app"


def test_a_lab_may_have_hints_of_its_own_for_the_user(tmp_path: Path) -> None:
    own = LAB_TOML.replace("minutes = 20", 'minutes = 20\nnonroot_hints = ["one", "two"]')
    assert read_lab(write_lab(tmp_path, "a", toml=own) / "lab.toml").nonroot_hints == ("one", "two")
    assert read_lab(write_lab(tmp_path, "b") / "lab.toml").nonroot_hints == ()


def test_a_lab_may_name_the_line_that_starts_its_program(tmp_path: Path) -> None:
    own = LAB_TOML.replace("minutes = 20", 'minutes = 20\nstart_line = "CMD x"')
    assert read_lab(write_lab(tmp_path, "a", toml=own) / "lab.toml").start_line == "CMD x"
    assert read_lab(write_lab(tmp_path, "b") / "lab.toml").start_line == ""


def test_the_lines_that_react_gives_for_its_user_are_those_of_a_right_answer() -> None:
    [run, user] = find_lab("react-nginx").nonroot_hints[-1].split(", and below it ")
    answer = ROOT / "tests" / "right_answers" / "react-nginx" / "nonroot-as-hinted" / "Dockerfile"
    lines = answer.read_text("utf-8").splitlines()
    assert lines.index(user) == lines.index(run) + 1


def test_a_lab_is_found_by_its_name(tmp_path: Path) -> None:
    write_lab(tmp_path, "go")
    assert find_lab("go", tmp_path) == read_lab(tmp_path / "labs" / "go" / "lab.toml")


def test_a_typo_gets_the_nearest_name(tmp_path: Path) -> None:
    for name in ("go-scratch", "react-nginx"):
        write_lab(tmp_path, name)
    with pytest.raises(UsageError) as raised:
        find_lab("go-scrach", tmp_path)
    assert raised.value.what == "There is no lab called go-scrach."
    assert raised.value.mend == "Did you mean go-scratch?"


def test_a_name_near_no_lab_gets_them_all(tmp_path: Path) -> None:
    for name in ("go-scratch", "react-nginx"):
        write_lab(tmp_path, name)
    with pytest.raises(UsageError) as raised:
        find_lab("zzz", tmp_path)
    assert "go-scratch" in raised.value.mend
    assert "react-nginx" in raised.value.mend


@pytest.mark.parametrize("trick", ["../x", "../labs/go", "./go", "go/", "go/../go", "{root}/go"])
def test_a_path_is_not_a_lab_even_where_it_leads_to_one(tmp_path: Path, trick: str) -> None:
    write_lab(tmp_path, "go")
    write_lab(tmp_path / "labs", "x")
    (tmp_path / "labs" / "labs" / "x").rename(tmp_path / "x")
    with pytest.raises(UsageError, match="no lab called"):
        find_lab(trick.format(root=tmp_path / "labs"), tmp_path)


@settings(max_examples=200)
@given(st.text("./\\ab\0", max_size=12))
def test_whatever_is_asked_for_is_a_lab_or_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError):
        find_lab(name)


@pytest.mark.parametrize(
    "toml",
    [
        "order = ",
        "",
        LAB_TOML.replace('title = "A lab"', ""),
        LAB_TOML.replace("unpacked_size", "size"),
        LAB_TOML.replace("[budget]\nunpacked_size = 1_000", "").replace(
            "order = {order}", "order = {order}\nbudget = 5"
        ),
        LAB_TOML.replace("status = 200", ""),
        LAB_TOML.replace("status = 200", "status = 200\nsurprise = 1"),
        LAB_TOML + 'also = "unknown"\n',
        LAB_TOML.replace('paths = ["usr/local/go"]', 'paths = "usr/local/go"'),
        LAB_TOML.replace('hints = ["The last FROM decides what ships."]', 'hints = "one"'),
        LAB_TOML.replace('what = "the Go toolchain"', 'what = ["the Go toolchain"]'),
        LAB_TOML.replace("unpacked_size = 1_000", 'unpacked_size = "1 MB"'),
        LAB_TOML.replace("status = 200", 'status = "200"'),
        LAB_TOML.replace("minutes = 20", "minutes = 20.5"),
        LAB_TOML.replace("minutes = 20", 'minutes = 20\nnonroot_hints = "one"'),
        LAB_TOML.replace("minutes = 20", "minutes = 20\nnonroot_hints = [1]"),
        LAB_TOML.replace("minutes = 20", "minutes = 20\nstart_line = 1"),
        LAB_TOML.replace('title = "A lab"', "title = 5"),
        LAB_TOML.replace('summary = "What it is about."', 'summary = ["What it is about."]'),
        LAB_TOML.replace('video = "A part of the video"', "video = 1.5"),
        LAB_TOML.replace('notebook = "{order}_{name}.ipynb"', "notebook = {order}"),
        LAB_TOML.replace('solution = "scratch"', "solution = true"),
    ],
    ids=[
        "no TOML",
        "empty",
        "no title",
        "no budget in the table",
        "budget is no table",
        "request without status",
        "request with an unknown key",
        "absent with an unknown key",
        "text for a list of paths",
        "text for a list of hints",
        "a list for text",
        "budget is text",
        "status is text",
        "minutes are no whole number",
        "text for the user's hints",
        "a number for a hint",
        "start line is no text",
        "title is a number",
        "summary is a list",
        "video is a number",
        "notebook is a number",
        "solution is no text",
    ],
)
def test_a_damaged_description_is_the_machines_fault_and_named(tmp_path: Path, toml: str) -> None:
    file = write_lab(tmp_path, "go", toml=toml) / "lab.toml"
    with pytest.raises(MachineError, match="description is damaged") as raised:
        read_lab(file)
    assert raised.value.where == str(file)
    assert "git checkout" in raised.value.mend
    with pytest.raises(MachineError):
        labs(tmp_path)


def test_reset_of_a_pristine_starter_does_nothing(lab: LabFolder) -> None:
    assert reset(lab) is None
    assert [file.name for file in lab.app.iterdir()] == ["Dockerfile"]
    assert lab.dockerfile.read_text("utf-8") == SINGLE_STAGE


def test_reset_keeps_the_learners_file_and_restores_the_starter(lab: LabFolder) -> None:
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    kept = reset(lab)
    assert kept == lab.app / "Dockerfile.yours-1"
    assert kept.read_text("utf-8") == TWO_STAGES
    assert lab.dockerfile.read_bytes() == lab.before_dockerfile.read_bytes()


def test_each_reset_keeps_another_file(lab: LabFolder) -> None:
    names = []
    for number in range(1, 4):
        lab.dockerfile.write_text(f"{TWO_STAGES}# {number}\n", "utf-8")
        kept = reset(lab)
        assert kept is not None
        names.append(kept.name)
    assert names == ["Dockerfile.yours-1", "Dockerfile.yours-2", "Dockerfile.yours-3"]
    assert [lab.app.joinpath(n).read_text("utf-8")[-2] for n in names] == ["1", "2", "3"]


def test_reset_never_overwrites_what_has_the_name_already(lab: LabFolder) -> None:
    (lab.app / "Dockerfile.yours-1").write_text("older work", "utf-8")
    (lab.app / "Dockerfile.yours-2").mkdir()
    lab.dockerfile.write_bytes(b"FROM scratch\r\n\xff")
    kept = reset(lab)
    assert kept == lab.app / "Dockerfile.yours-3"
    assert kept.read_bytes() == b"FROM scratch\r\n\xff"
    assert (lab.app / "Dockerfile.yours-1").read_text("utf-8") == "older work"


def test_reset_restores_a_deleted_dockerfile(lab: LabFolder) -> None:
    lab.dockerfile.unlink()
    assert reset(lab) is None
    assert lab.dockerfile.read_text("utf-8") == SINGLE_STAGE


@pytest.mark.skipif(sys.platform == "win32", reason="needs the right to make links")
@pytest.mark.parametrize("text", [TWO_STAGES, SINGLE_STAGE, None])
def test_reset_puts_a_file_in_a_links_place_and_leaves_what_it_named(
    lab: LabFolder, tmp_path: Path, text: str | None
) -> None:
    solution = tmp_path / "Dockerfile"
    if text is not None:
        solution.write_text(text, "utf-8")
    lab.dockerfile.unlink()
    lab.dockerfile.symlink_to(solution)
    kept = reset(lab)
    assert not lab.dockerfile.is_symlink()
    assert lab.dockerfile.read_text("utf-8") == SINGLE_STAGE
    assert (solution.read_text("utf-8") if solution.exists() else None) == text
    assert (kept is not None) is (text == TWO_STAGES)
    assert sorted(file.name for file in lab.app.iterdir())[0] == "Dockerfile"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_reset_refuses_what_is_no_file_and_waits_for_nothing(lab: LabFolder) -> None:
    lab.dockerfile.unlink()
    os.mkfifo(lab.dockerfile)
    with pytest.raises(LearnerError, match="no ordinary file") as raised:
        reset(lab)
    assert str(lab.dockerfile) in str(raised.value)


def test_reset_says_of_a_folder_that_it_is_one_and_leaves_it(lab: LabFolder) -> None:
    lab.dockerfile.unlink()
    (lab.dockerfile / "mine").mkdir(parents=True)
    with pytest.raises(LearnerError, match="is a folder") as raised:
        reset(lab)
    assert "Move it" in raised.value.mend
    assert (lab.dockerfile / "mine").is_dir()


def test_keeping_leaves_the_original_in_place(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine", "utf-8")
    assert keep(tmp_path / "page.html") == tmp_path / "page.html.yours-1"
    assert (tmp_path / "page.html").read_text("utf-8") == "mine"


def test_a_starter_is_not_converted_and_two_stages_are(lab: LabFolder, tmp_path: Path) -> None:
    assert not lab.is_converted()
    lab.dockerfile.write_text(TWO_STAGES, "utf-8")
    assert lab.is_converted()
    other = tmp_path / "Other"
    other.write_text(SINGLE_STAGE, "utf-8")
    assert not lab.is_converted(other)


def test_a_missing_dockerfile_tells_how_to_get_it_back(lab: LabFolder) -> None:
    lab.dockerfile.unlink()
    with pytest.raises(LearnerError) as raised:
        lab.is_converted()
    assert str(lab.dockerfile) in raised.value.what
    assert raised.value.mend == "Run: multistage reset go"


def test_an_unreadable_dockerfile_names_its_line(lab: LabFolder) -> None:
    lab.dockerfile.write_text("FROM scratch\nCOPPY . .\n", "utf-8")
    with pytest.raises(LearnerError) as raised:
        lab.is_converted()
    assert raised.value.where == f"{lab.dockerfile}:2"


def deny(monkeypatch: pytest.MonkeyPatch, method: str, denied: Path) -> None:
    """Refuse to read one file, as to a user who may not; the superuser may read all of them."""
    usual = getattr(Path, method)

    def read(self: Path, *arguments: object, **options: object) -> object:
        if self == denied:
            raise PermissionError(13, "Permission denied", str(self))
        return usual(self, *arguments, **options)

    monkeypatch.setattr(Path, method, read)


@pytest.mark.parametrize("method", ["is_file", "read_bytes"])
def test_a_dockerfile_that_may_not_be_read_says_so(
    lab: LabFolder, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, method, lab.dockerfile)
    with pytest.raises(LearnerError) as raised:
        lab.is_converted()
    assert raised.value.what == f"Permission denied: {lab.dockerfile}"
    assert "readable" in raised.value.mend


@pytest.mark.parametrize("method", ["is_file", "read_text"])
def test_a_notebook_shows_no_dockerfile_that_may_not_be_read_and_says_so(
    lab: LabFolder, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multistage.labs.find_lab", lambda _name: lab)
    deny(monkeypatch, method, lab.dockerfile)
    with pytest.raises(LearnerError) as raised:
        notebooks.Lab("go").dockerfile()
    assert raised.value.what == f"Permission denied: {lab.dockerfile}"


def test_a_description_that_cannot_be_read_is_damaged_too(
    lab: LabFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lab.folder / "lab.toml"
    with monkeypatch.context() as patched:
        deny(patched, "read_text", file)
        with pytest.raises(MachineError, match="damaged: Permission denied"):
            labs(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(MachineError, match="description is damaged") as raised:
        labs(tmp_path)
    assert raised.value.where == str(file)


def test_the_repository_has_labs() -> None:
    assert {"go-scratch", "react-nginx"} <= {lab.name for lab in labs()} == set(REPOSITORY_LABS)


@pytest.mark.parametrize("name", REPOSITORY_LABS)
def test_a_labs_starter_has_one_stage_and_marks_what_to_do(name: str) -> None:
    lab = find_lab(name)
    text = lab.before_dockerfile.read_text("utf-8")
    assert not parse(text).is_multistage
    assert re.findall(r"^# TODO (\d+):", text, re.MULTILINE)[:3] == ["1", "2", "3"]


@pytest.mark.parametrize("name", REPOSITORY_LABS)
def test_a_labs_notebook_carries_the_labs_order(name: str) -> None:
    lab = find_lab(name)
    assert re.fullmatch(rf"{lab.order:02}_[a-z0-9_]+\.ipynb", lab.notebook)
    assert [other.name for other in labs() if other.order == lab.order] == [name]


@pytest.mark.parametrize("name", REPOSITORY_LABS)
def test_a_labs_solution_is_there_and_has_several_stages(name: str) -> None:
    lab = find_lab(name)
    solution = ROOT / "solutions" / name / lab.solution / "Dockerfile"
    assert lab.is_converted(solution)


@pytest.mark.parametrize("name", REPOSITORY_LABS)
def test_a_labs_checks_have_hints_and_addresses(name: str) -> None:
    lab = find_lab(name)
    assert lab.requests
    assert lab.absent
    assert all(request.path.startswith("/") and request.contains for request in lab.requests)
    assert all(request.why and not request.why.endswith(".") for request in lab.requests)
    assert all(entry.what and entry.paths + entry.programs + entry.context for entry in lab.absent)
    # From a nudge over the idea to the line to write.
    hints = [entry.hints for entry in lab.requests] + [entry.hints for entry in lab.absent]
    assert [len(tiers) for tiers in hints] == [3] * len(hints)
    assert len({entry.id for entry in lab.absent}) == len(lab.absent)
    assert len({request.path for request in lab.requests}) == len(lab.requests)
    assert len(lab.nonroot_hints) in (0, 3)
    assert 0 < lab.port < 65536
    assert lab.budget > 0
