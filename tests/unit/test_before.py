"""The before image: looked at once, kept in a file that may be lost, and blamed on the machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multistage.checks import Answer, before
from multistage.checks.absent import Copies
from multistage.checks.before import Before, links, look_at_before
from multistage.engines import BuildRequest, Report, ignore
from multistage.errors import LearnerError, MachineError, NotPossibleHereError
from multistage.labs import LabFolder, read_lab
from tests.unit.made import LAB_TOML, MadeContainer, MadeEngine, write_lab
from tests.unit.test_checks import HTML, PAGE, SITE, serving

TOML = LAB_TOML.replace("status = 200", "status = 200\nsame = true")


@pytest.fixture
def lab(tmp_path: Path) -> LabFolder:
    return read_lab(write_lab(tmp_path, "go", toml=TOML) / "lab.toml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder where files are kept."""
    monkeypatch.setattr(before, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "multistage-course" / "before"


class Engine(MadeEngine):
    """An engine that counts how often an image is read, and gives it the ID that is asked for."""

    image_id = "sha256:before"
    saved = 0

    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        super().build(request, report)
        return self.image_id

    def save(self, image: str):  # type: ignore[no-untyped-def]
        self.saved += 1
        return super().save(image)


@pytest.fixture
def look(lab: LabFolder) -> Callable[..., tuple[Before, Engine]]:
    """Return a function that looks at the before image as a new process does."""

    def as_a_new_process(**fields: object) -> tuple[Before, Engine]:
        before._KNOWN.clear()
        with serving(SITE) as served:
            engine = Engine({"usr/local/go/VERSION": b"v" * 100}, served.container)
            for name, value in fields.items():
                setattr(engine, name, value)
            return look_at_before(engine, lab), engine

    return as_a_new_process


Look = Callable[..., tuple[Before, Engine]]


def test_the_before_image_says_what_is_served_and_what_must_stay_behind(look: Look) -> None:
    found, engine = look()
    assert found.assets == ("/assets/a.css", "/assets/a.js")
    assert set(found.answers) == {"/", *found.assets}
    assert (found.answers["/"].status, found.answers["/"].length) == (200, len(PAGE))
    assert [len(found.copies["toolchain"].files)] == [1]
    [request] = engine.built
    assert request.dockerfile.parent.name == "before"
    assert request.tag == "multistage/go:before"


def test_what_was_found_is_kept_and_the_image_not_read_again(look: Look, folder: Path) -> None:
    first, engine = look()
    assert engine.saved == 1
    again, other = look()
    assert (other.saved, other.environments) == (0, [])
    assert other.built  # whether it is the same image is known when it is built
    assert again == replace(
        first, answers={p: replace(a, text="") for p, a in first.answers.items()}
    )
    [file] = folder.iterdir()
    assert file.suffix == ".json"
    assert "hello" not in file.read_text("utf-8")


def test_in_one_process_the_file_is_not_even_needed(lab: LabFolder, folder: Path) -> None:
    with serving(SITE) as served:
        engine = Engine({}, served.container)
        first = look_at_before(engine, lab)
        for file in folder.iterdir():
            file.unlink()
        assert look_at_before(engine, lab) is first
    assert engine.saved == 1


def test_another_image_is_looked_at_anew(look: Look, folder: Path) -> None:
    look()
    assert look(image_id="sha256:other")[1].saved == 1
    assert len(list(folder.iterdir())) == 2


def test_another_description_of_the_lab_is_looked_at_anew(look: Look, lab: LabFolder) -> None:
    look()
    with (lab.folder / "lab.toml").open("a", encoding="utf-8") as toml:
        toml.write("# changed\n")
    assert look()[1].saved == 1


def test_another_format_of_the_file_is_looked_at_anew(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    look()
    monkeypatch.setattr(before, "_FORMAT", b"0")
    assert look()[1].saved == 1


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"\xff\xfe", b"{", b"[]", b"3", b"null", b'"x"', b"{}", b'{"answers": {}}',
        b'{"answers": [], "assets": [], "copies": {}}',
        b'{"answers": {"/": {"surprise": 1}}, "assets": [], "copies": {}}',
        b"[" * 100_000,
        b'{"answers": {"/": 3}, "assets": [], "copies": {}}',
        b'{"answers": {}, "assets": 3, "copies": {}}',
        b'{"answers": {}, "assets": [], "copies": {}}',
        b'{"answers": {"/": {"status": 200, "text": ""}}, "assets": ["/x"], "copies": {}}',
        b'{"answers": {}, "assets": [], "copies": {"toolchain": {}}}',
        b'{"answers": {}, "assets": [], "copies": {"toolchain": {"programs": [], "files": []}}}',
        b'{"answers": {"/": {"status": 200, "text": ""}}, "assets": [], "copies": {}}',
        b'{"answers": {}, "assets": [], "copies": {"toolchain": {"programs": [[]], "files": []}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_replaced(look: Look, folder: Path, damage: bytes) -> None:
    first, _ = look()
    [file] = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage)
    again, engine = look()
    assert engine.saved == 1
    assert again.copies == first.copies
    assert file.read_bytes() == whole


def test_a_file_cut_anywhere_is_replaced(look: Look, folder: Path) -> None:
    look()
    [file] = folder.iterdir()
    whole = file.read_bytes()
    for length in range(0, len(whole), len(whole) // 7):
        file.write_bytes(whole[:length])
        assert look()[1].saved == 1
        assert file.read_bytes() == whole


def test_a_folder_in_the_place_of_the_file_is_no_fault(look: Look, folder: Path) -> None:
    look()
    [file] = folder.iterdir()
    file.unlink()
    file.mkdir()
    assert look()[1].saved == 1
    assert [left.name for left in folder.iterdir()] == [file.name]


def test_a_file_in_the_place_of_the_folder_is_no_fault(look: Look, folder: Path) -> None:
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file", "utf-8")
    assert look()[0].answers
    assert folder.parent.read_text("utf-8") == "a file"


def test_a_disk_that_takes_nothing_is_no_fault(
    look: Look, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_keywords: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    found, _ = look()
    assert found.answers
    assert list(folder.iterdir()) == []


def test_where_no_container_runs_files_are_known_all_the_same(look: Look) -> None:
    found, _ = look(fails=NotPossibleHereError("Not here."))
    assert (found.answers, found.assets) == ({}, ())
    assert found.copies["toolchain"] != Copies()


def test_a_lab_that_compares_no_answer_is_looked_at_once_too(tmp_path: Path, folder: Path) -> None:
    lab = read_lab(write_lab(tmp_path, "plain") / "lab.toml")
    for reads in (1, 0):
        before._KNOWN.clear()
        with serving(SITE) as served:
            engine = Engine({"usr/local/go/VERSION": b"v" * 100}, served.container)
            found = look_at_before(engine, lab)
        assert (found.answers, len(found.copies["toolchain"].files)) == ({}, 1)
        assert engine.saved == reads


def test_what_was_not_possible_once_is_tried_again(lab: LabFolder, folder: Path) -> None:
    with serving(SITE) as served:
        engine = Engine({}, served.container, fails=NotPossibleHereError("Not here."))
        assert not look_at_before(engine, lab).answers
        assert not folder.exists()
        engine.fails = None
        assert look_at_before(engine, lab).answers


@pytest.mark.parametrize("answer", [(500, HTML, PAGE), (200, HTML, "good bye")])
def test_a_before_image_that_answers_wrong_is_no_fault_of_the_learner(
    lab: LabFolder, folder: Path, answer: tuple[int, str, str]
) -> None:
    said = f"answers / with {answer[0]}, not as the lab says"
    with (
        serving({**SITE, "/": answer}) as served,
        pytest.raises(MachineError, match=said) as raised,
    ):
        look_at_before(Engine({}, served.container), lab)
    assert "git diff" in raised.value.mend
    assert not folder.exists()


class Refuses(Engine):
    def build(self, request: BuildRequest, report: Report = ignore) -> str:
        raise LearnerError("npm ci: failed", where="before/Dockerfile:3", mend="Learner's mend.")


def test_a_before_image_that_does_not_build_is_no_fault_of_the_learner(lab: LabFolder) -> None:
    with pytest.raises(MachineError) as raised:
        look_at_before(Refuses(), lab)
    assert raised.value.what == "The before image does not build: npm ci: failed"
    assert raised.value.where == "before/Dockerfile:3"
    assert "git diff" in raised.value.mend


def test_a_before_image_that_does_not_start_is_no_fault_of_the_learner(
    lab: LabFolder, folder: Path
) -> None:
    engine = Engine({}, MadeContainer("", ended=1, log="no page"))
    with pytest.raises(MachineError, match=r"before image does not run: .* no page"):
        look_at_before(engine, lab)
    assert not folder.exists()


@pytest.mark.parametrize("error", [LearnerError("Exec failed."), MachineError("No disk.")])
def test_a_before_image_that_cannot_be_run_is_no_fault_of_the_learner(
    look: Look, folder: Path, error: MachineError | LearnerError
) -> None:
    with pytest.raises(MachineError, match=error.what):
        look(fails=error)
    assert not folder.exists()


# What a page loads.


def page(text: str, kind: str = "text/html") -> list[str]:
    return list(links(Answer(200, text, kind)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<script src="/a.js"></script>', ["/a.js"]),
        ('<link rel="stylesheet" href="/a.css">', ["/a.css"]),
        ('<img src="/a.png" alt="">', ["/a.png"]),
        ('<source src="/a.webm">', ["/a.webm"]),
        ("<script src=/a.js></script>", ["/a.js"]),
        ("<SCRIPT SRC='/A.js'></SCRIPT>", ["/A.js"]),
        ('<img src="/a.png"/><img src="/b.png">', ["/a.png", "/b.png"]),
        ('<script src="a.js">', ["/a.js"]),
        ('<script src="./assets/a.js">', ["/assets/a.js"]),
        ('<script src="../a.js">', ["/a.js"]),
        ('<script src="/a.js?v=1#x">', ["/a.js"]),
        ('<script src="/a b.js">', ["/a b.js"]),
        ('<script src="/a.js&amp;b">', ["/a.js&b"]),
        ('<script src="http://page/a.js">', ["/a.js"]),
        ('<script src="https://page/a.js">', []),
        ('<script src="https://example.com/a.js">', []),
        ('<script src="//example.com/a.js">', []),
        ('<script src="http://page:81/a.js">', []),
        ('<script src="http://page@example.com/a.js">', []),
        ('<img src="data:image/png;base64,AAAA">', []),
        ('<img src="blob:x"><script src="javascript:x()">', []),
        ('<a href="/other">', []),
        ("<script>hello()</script><img><img src><img src=''>", []),
        ('<link rel="icon" href="/"><script src="">', []),
        ('<!-- <script src="/a.js"> -->', []),
        ('<script src="http://["></script><script src="/a.js">', ["/a.js"]),
        ('<img src="//[::1"><img src="http://[x]/a.js"><img src="http://page:x/a.js">', []),
        ('<script src="/a.js"', []),
        ("<p>hello", []),
        ("", []),
    ],
)
def test_a_page_loads_scripts_styles_and_pictures_of_its_own_server(
    text: str, expected: list[str]
) -> None:
    assert page(text) == expected


def test_a_declaration_that_means_nothing_is_passed_over() -> None:
    assert page('<script src="/a.js"></script><![foo[x]]>') == ["/a.js"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/", "/a.js"), ("/b/", "/b/a.js"), ("/b", "/a.js"), ("/b/?c=/", "/b/a.js")],
)
def test_what_a_page_loads_is_found_from_the_page_on(path: str, expected: str) -> None:
    answer = Answer(200, f'<script src="a.js"></script><img src="{path}">', "text/html")
    assert list(links(answer, path))[:1] == [expected]


def test_what_is_no_html_loads_nothing() -> None:
    script = '<script src="/a.js">'
    assert page(script, "text/plain") == []
    assert page(script, "") == []
    assert page(script, "application/xhtml+xml") == ["/a.js"]


@given(st.lists(st.sampled_from(["<", ">", "script", "img", " src=", "'", '"', "/a", "&", "<!--",
                                 "</", "?", "=", "\0", "é", "<![", "]", "-", "http:", "//", ":",
                                 "0", "[", ";", "#"])).map("".join))  # fmt: skip
def test_a_malformed_page_is_read_as_far_as_it_goes(text: str) -> None:
    assert all(path.startswith("/") for path in page(text))


def test_the_file_holds_what_checks_need(look: Look, folder: Path) -> None:
    look()
    [file] = folder.iterdir()
    data = json.loads(file.read_text("utf-8"))
    assert sorted(data) == ["answers", "assets", "copies"]
    assert data["answers"]["/"]["digest"].startswith("sha256:")
