"""Labs as shipped, and their solutions, on a real engine: they build, run and answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from multistage.checks import (
    CheckReport,
    ask,
    check_lab,
    reachable_upstream,
    upstream_environment,
    wait_until_it_answers,
)
from multistage.engines import Engine
from multistage.errors import LearnerError
from multistage.images import File, read_archive
from multistage.labs import ROOT
from tests.labs.conftest import LABS, SOLUTIONS, Built

pytestmark = [pytest.mark.docker, pytest.mark.slow]
OUTPUT = ROOT / "tests" / "output"

# The video's Go image holds the binary alone: notebook 60 shows what it then lacks.
# nginx starts as root; that it need not is a stretch.
EXPECTED_FAILURES = {
    ("go-scratch", "video"): {"answers-/time?zone=Europe/Paris", "answers-/upstream", "nonroot"},
    ("react-nginx", "nginx"): {"nonroot"},
    ("react-nginx", "video"): {"nonroot"},
}


def failed(report: CheckReport) -> set[str]:
    return {check.id for check in report.checks if not check.passed}


def files_of(engine: Engine, image: str) -> dict[str, File]:
    with engine.save(image) as stream:
        layers = read_archive(stream, image, keep_files=True).layers
    return {file.path: file for layer in layers for file in layer.files}


@pytest.mark.parametrize("name", LABS)
def test_the_starter_works_and_is_not_solved(name: str, engine: Engine, built: Built) -> None:
    lab = LABS[name]
    assert "TODO" in lab.before_dockerfile.read_text("utf-8")
    before = built(lab, lab.before_dockerfile)
    report = check_lab(engine, lab, before, lab.before_dockerfile)
    assert not report.passed
    absent = {f"without-{entry.id}" for entry in lab.absent}
    assert {"multistage", "budget", *absent} <= failed(report)
    right = {"builds", "starts", "stops", "assets", "secrets"}
    assert not right & failed(report)
    # Before and after do the same job: what must be answered, the before image answers.
    assert not {check for check in failed(report) if check.startswith(("answers", "starts"))}
    assert all(check.hint for check in report.checks if not check.passed)


@pytest.mark.parametrize(("name", "variant"), SOLUTIONS)
def test_a_solution_passes_its_checks(
    name: str, variant: str, engine: Engine, built: Built
) -> None:
    lab = LABS[name]
    dockerfile = ROOT / "solutions" / name / variant / "Dockerfile"
    after = built(lab, dockerfile)
    report = check_lab(engine, lab, after, dockerfile)
    assert failed(report) == EXPECTED_FAILURES.get((name, variant), set())


def test_a_scratch_image_is_the_binary_and_what_the_lesson_adds(
    engine: Engine, built: Built
) -> None:
    lab = LABS["go-scratch"]
    after = built(lab, ROOT / "solutions/go-scratch/scratch/Dockerfile")
    files = files_of(engine, after.image)
    added = {"etc/ssl/certs/ca-certificates.crt", "zoneinfo.zip"}
    assert set(files) == {"server", *added}
    assert after.unpacked_size <= 1.01 * files["server"].size + sum(files[n].size for n in added)


def test_the_nginx_image_is_its_base_and_dist(engine: Engine, built: Built) -> None:
    lab = LABS["react-nginx"]
    before = built(lab, lab.before_dockerfile)
    after = built(lab, ROOT / "solutions/react-nginx/nginx/Dockerfile")
    dist = sum(
        file.size
        for path, file in files_of(engine, before.image).items()
        if path.startswith("app/dist/")
    )
    assert dist > 100_000
    more_than_the_base = after.unpacked_size - after.sizes_by_kind()["base"]
    assert abs(more_than_the_base - dist) <= 0.01 * dist


@pytest.mark.parametrize(("name", "variant"), SOLUTIONS)
def test_compare_measures_before_and_after(name: str, variant: str) -> None:
    dockerfile = ROOT / "solutions" / name / variant / "Dockerfile"
    done = subprocess.run(
        [sys.executable, "-m", "multistage", "compare", name, "--file", str(dockerfile), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(done.stdout)
    before, after = document["before"], document["after"]
    assert document["lab"] == name
    assert document["ratio"] == pytest.approx(after["unpacked_size"] / before["unpacked_size"], 1e-3)
    for image in (before, after):
        for size in ("unpacked_size", "compressed_size"):
            assert image[size] == sum(layer[size] for layer in image["layers"])
    print(f"{name}/{variant}: {1 / document['ratio']:.1f} times smaller, unpacked")
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / f"compare-{name}-{variant}.json").write_text(done.stdout, "utf-8")


def test_the_bare_image_lacks_zones_and_certificates(engine: Engine, built: Built) -> None:
    lab = LABS["go-scratch"]
    image = built(lab, lab.folder / "pitfalls/bare/Dockerfile").image
    with engine.run(image, lab.port, upstream_environment(reachable_upstream())) as container:
        wait_until_it_answers(container)
        zone = ask(container.address, "/time?zone=Europe/Paris")
        upstream = ask(container.address, "/upstream")
    assert (zone.status, zone.text.strip()) == (500, "unknown time zone Europe/Paris")
    assert upstream.status == 502
    assert "x509" in upstream.text
    assert engine.run_command(image, ["/bin/sh"]).exit_code == 127


def test_the_dynamic_binary_cannot_be_started(engine: Engine, built: Built) -> None:
    lab = LABS["go-scratch"]
    image = built(lab, lab.folder / "pitfalls/dynamic/Dockerfile").image
    with (
        pytest.raises(LearnerError) as caught,
        engine.run(image, lab.port) as container,
    ):
        wait_until_it_answers(container)
    assert "no such file or directory" in str(caught.value)


def test_the_figure_is_saved_as_svg_and_png(tmp_path: Path) -> None:
    for name in ("figure.svg", "figure.png"):
        subprocess.run(
            [
                *(sys.executable, "-m", "multistage", "compare", "react-nginx"),
                *("--file", str(ROOT / "solutions/react-nginx/nginx/Dockerfile")),
                *("--plot", str(tmp_path / name)),
            ],
            capture_output=True,
            check=True,
        )
    assert "<svg" in (tmp_path / "figure.svg").read_text("utf-8")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
