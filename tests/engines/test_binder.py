"""On Binder: the course installs as ``binder/`` says, and runs where nearly nothing is allowed."""

from __future__ import annotations

import json
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from multistage.engines.docker import DockerEngine
from multistage.labs import labs
from tests.engines.binder_pod import HOME, MEMORY, SERVER, Pod, pod, variables, wait_for
from tests.notebooks.course import NOTEBOOKS, ROOT

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]

_TOKEN = secrets.token_hex(16)
_INSTALL_SECONDS = 900
_CELL_SECONDS = 600
# What a machine allows on which nobody has locked user namespaces away.
_OPEN = ["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined"]
_NOTEBOOKS = [path.name for path in NOTEBOOKS]


def ask(pod: Pod, path: str) -> Any:
    """Ask the notebook server, as the learner's browser does through Binder's proxy."""
    address = f"http://127.0.0.1:{pod.port}/user/learner/{path}"
    request = urllib.request.Request(address, headers={"Authorization": f"token {_TOKEN}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)


def answers(pod: Pod) -> bool:
    try:
        return bool(ask(pod, "api/status"))
    except (OSError, urllib.error.URLError):
        return False


@pytest.fixture(scope="module")
def binder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """Return the pod, everything installed, its server running."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    with pod(DockerEngine(), tmp_path_factory.mktemp("binder"), port, _TOKEN) as running:
        seconds = wait_for(lambda: answers(running), running, _INSTALL_SECONDS)
        print(f"installed and started: {seconds:.0f} s")
        print(running.logs())
        yield running
        print(f"memory that cannot be reclaimed, at the highest: {running.memory / 1e6:.0f} MB")


@pytest.fixture(scope="module")
def installed(binder: Pod) -> Iterator[str]:
    """Return an image of the pod as it is once everything is installed."""
    image = str(binder.container.commit(repository="multistage-tests/binder-installed").id)
    yield image
    client = docker.from_env()
    client.images.remove(image, force=True)
    client.close()


def test_the_server_is_repo2dockers_own_and_opens_the_first_notebook_beside_a_dockerfile(
    binder: Pod,
) -> None:
    code, version = binder.run(f"{SERVER}/bin/jupyter-lab", "--version")
    assert code == 0 and version.startswith("4.4."), version
    layout = ask(binder, "lab/api/workspaces/default")["data"]
    areas = layout["layout-restorer:data"]["main"]["dock"]["children"]
    shown = [widget for area in areas for widget in area["widgets"]]
    paths = [layout[widget]["data"]["path"] for widget in shown]
    assert paths == ["notebooks/00_start_here.ipynb", "labs/react-nginx/app/Dockerfile"]
    for path in paths:
        assert ask(binder, f"api/contents/{path}?content=0")["path"] == path


def test_the_notebooks_run_in_the_courses_own_environment(binder: Pod) -> None:
    kernels = ask(binder, "api/kernelspecs")
    assert kernels["default"] == "python3"
    assert kernels["kernelspecs"]["python3"]["spec"]["argv"][0] == f"{HOME}/.venv/bin/python"


def test_the_pod_is_as_tight_as_binders(binder: Pod) -> None:
    status = dict(line.split(":\t", 1) for line in binder.read("/proc/1/status").splitlines())
    assert status["Uid"].split() == ["1000"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert binder.run("unshare", "--user", "true")[0] != 0


def test_doctor_chooses_the_sandbox_that_works_there_and_says_why_not_the_others(
    binder: Pod,
) -> None:
    code, said = binder.run("multistage", "doctor", "--json")
    found = json.loads(said)
    print(json.dumps(found["engines"], indent=1))
    assert (code, found["chosen"]) == (0, "daemonless")
    by_name = {engine["name"]: engine for engine in found["engines"]}
    assert not by_name["docker"]["available"]
    reason = by_name["daemonless"]["reason"]
    assert "proot sandbox works" in reason
    for kind in ("root: ", "user-namespaces: ", "chroot: "):
        assert kind in reason


@pytest.mark.parametrize("name", _NOTEBOOKS)
def test_a_notebook_runs_to_its_end(binder: Pod, name: str) -> None:
    began = time.monotonic()
    code, said = binder.run(
        *("jupyter", "execute", "--inplace", f"--timeout={_CELL_SECONDS}", f"notebooks/{name}")
    )
    print(f"{name}: {time.monotonic() - began:.0f} s")
    assert code == 0, said[-6000:]
    notebook: Any = json.loads(binder.read(f"notebooks/{name}"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    assert not [o for cell in cells for o in cell["outputs"] if o.get("name") == "stderr"]
    said = json.dumps([cell["outputs"] for cell in cells])
    assert "daemonless engine, accelerated proot sandbox" in said or "Measured " not in said


@pytest.mark.parametrize("lab", [lab.name for lab in labs(ROOT)])
def test_every_check_that_a_pod_allows_passes(binder: Pod, lab: str) -> None:
    code, said = binder.run("multistage", "check", lab, "--json")
    found = json.loads(said[said.index("{") :])
    for check in found["checks"]:
        print(f"{check['id']}: {check['message']} {check['hint']}")
    assert (code, found["passed"]) == (0, True)
    # A pod may refuse nginx its port 80. That is the machine's doing, and is said as such.
    left = not_passed(found)
    assert all(not c["required"] and c["message"].startswith("Not checked") for c in left), left


def not_passed(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the checks that did not pass; being root is allowed in the page's lab."""
    return [c for c in found["checks"] if not c["passed"] and c["id"] != "nonroot"]


@pytest.mark.parametrize(
    ("kind", "rights"),
    [
        # The namespaces of a user, in a container whose files overlayfs cannot use: copies.
        ("user-namespaces", {"user": "1000:1000", "cap_drop": ["ALL"], "security_opt": _OPEN}),
        # Root in an ordinary container: no mounts, no namespaces.
        ("chroot", {"user": "0:0"}),
    ],
)
@pytest.mark.parametrize("lab", [lab.name for lab in labs(ROOT)])
def test_a_lab_is_built_and_right_in_another_sandbox(
    installed: str, lab: str, kind: str, rights: dict[str, Any]
) -> None:
    client = docker.from_env(timeout=900)
    container = client.containers.run(
        installed,
        [f"{HOME}/.venv/bin/multistage", "check", lab, "--json"],
        entrypoint=[],
        environment={**variables(), "MULTISTAGE_SANDBOX": kind},
        network_mode="host",
        working_dir=HOME,
        detach=True,
        **rights,
    )
    try:
        status = container.wait(timeout=900)
        said = container.logs(stdout=True, stderr=False).decode("utf-8", "replace")
        assert status["StatusCode"] == 0, container.logs().decode("utf-8", "replace")[-3000:]
        found = json.loads(said)
        assert found["passed"]
        assert not_passed(found) == []
    finally:
        container.remove(force=True)
        client.close()


def test_no_process_is_left_and_the_memory_sufficed(binder: Pod) -> None:
    _, listed = binder.run(
        "sh", "-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done"
    )
    left = [line for line in listed.splitlines() if line and "sh -c for p in" not in line]
    assert [line for line in left if "jupyter-lab" not in line] == []
    binder.container.reload()
    assert not binder.container.attrs["State"]["OOMKilled"]
    _, killed = binder.run(
        "sh", "-c", "grep -hs oom_kill /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/*control"
    )
    counts = [int(line.split()[1]) for line in killed.splitlines() if line.startswith("oom_kill ")]
    assert counts and sum(counts) == 0, killed
    assert 0 < binder.memory < MEMORY
