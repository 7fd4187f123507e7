"""Packages that programs may import: named, with what they require, and no others."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rewards.code.notes import import_notes
from rewards.config import RewardConfig
from rewards.errors import RewardLoadError
from rewards.hosts.pool import check_reward
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.packages import describe_imports, find_packages
from rewards.sandbox.remote import RemoteSandbox
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from tests.rewards.sandbox.run_code_stub import StubHost

NUMPY = b"import numpy\nprint(numpy.arange(4).reshape(2, 2) @ numpy.eye(2))"


@pytest.fixture(params=["auto", "landlock", "unisolated"])
def with_numpy(request: pytest.FixtureRequest) -> Any:
    try:
        sandbox = Sandbox.open(SandboxSettings(tier=request.param, packages=("numpy",)))
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield sandbox
    sandbox.close()


def test_a_named_package_can_be_imported_and_no_other(with_numpy: Sandbox) -> None:
    outcome = with_numpy.run("python", NUMPY)
    assert (outcome.verdict, outcome.stdout) == ("ok", b"[[0. 1.]\n [2. 3.]]\n")
    for other in ("torch", "pydantic", "grpo", "rewards"):
        outcome = with_numpy.run("python", f"import {other}")
        assert f"No module named '{other}'".encode() in outcome.stderr


def test_what_a_package_is_made_of_cannot_be_changed(with_numpy: Sandbox) -> None:
    if with_numpy.tier.name == "unisolated":
        pytest.skip("nothing is protected there")
    program = "import numpy\nopen(numpy.__file__, 'a').write('x')"
    outcome = with_numpy.run("python", program)
    assert outcome.verdict == "runtime_error"
    assert b"Read-only" in outcome.stderr or b"Permission denied" in outcome.stderr


def test_a_namespace_sandbox_shows_nothing_else_of_the_environment(sandbox: Sandbox) -> None:
    with Sandbox.open(SandboxSettings(packages=("typing_extensions",))) as one:
        source = "import os, typing_extensions as t\nprint(sorted(os.listdir(os.path.dirname(t.__file__))))"
        outcome = one.run("python", source)
    assert outcome.stdout == b"['typing_extensions.py']\n"
    assert sandbox.run("python", "import typing_extensions").verdict == "runtime_error"


def test_an_environment_below_tmp_is_not_hidden_by_the_programs_own_tmp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as site:
        monkeypatch.syspath_prepend(site)
        (Path(site) / "lonely.py").write_text("from crowd.member import VALUE\n")
        (Path(site) / "crowd").mkdir()
        (Path(site) / "crowd" / "member.py").write_text("VALUE = 7\n")
        info = Path(site) / "lonely-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lonely\nVersion: 1.0\n")
        (info / "RECORD").write_text("lonely.py,,\ncrowd/member.py,,\nlonely-1.0.dist-info/METADATA,,\n")
        os.chmod(site, 0o755)
        with Sandbox.open(SandboxSettings(packages=("lonely",))) as one:
            outcome = one.run("python", "import lonely, os\nprint(lonely.VALUE, os.listdir('/tmp'))")
    assert (outcome.verdict, outcome.stdout) == ("ok", b"7 ['main.py']\n"), outcome


def test_requirements_come_along() -> None:
    found = find_packages(["sympy"])
    assert {"sympy", "mpmath"} <= set(found.modules)
    assert not {"torch", "numpy"} & set(found.modules)
    assert find_packages([]).binds == ()


def test_a_package_that_is_not_here_is_an_error_before_the_run() -> None:
    with pytest.raises(SandboxUnavailable, match=r"'numppy' is not installed in this environment"):
        find_packages(["numppy"])
    with pytest.raises(RewardLoadError, match=r"'numppy' is not installed"):
        check_reward("code", {"sandbox": {"packages": ["numppy"]}})


@pytest.mark.parametrize("name", ["scikit-learn", "numpy==2", "../x", ""])
def test_a_name_is_what_a_program_imports(name: str) -> None:
    with pytest.raises(ValidationError, match="the name that a program imports"):
        SandboxSettings(packages=(name,))


def test_a_package_that_does_not_work_in_the_sandbox_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from rewards.sandbox import sandbox as module
    from rewards.sandbox.packages import Packages

    monkeypatch.setattr(module, "find_packages", lambda names: Packages({"broken": "/usr/nowhere"}, ()))
    try:
        Sandbox.open().close()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    with pytest.raises(SandboxUnavailable, match=r"broken cannot be imported in the sandbox: .*Error"):
        Sandbox.open(SandboxSettings(packages=("broken",)))


def test_a_host_of_a_pool_that_lacks_a_package_is_an_error() -> None:
    """Otherwise right programs would be called wrong there."""

    def answer(body: dict[str, Any], lacks: bool) -> tuple[int, bytes]:
        fails = lacks and "import numpy" in body["code"]
        result = {
            "status": "Finished",
            "execution_time": 0.1,
            "return_code": int(fails),
            "stdout": "" if fails else "42\n",
            "stderr": "No module named 'numpy'" if fails else "",
        }
        reply = {
            "status": "Failed" if fails else "Success",
            "message": "",
            "compile_result": None,
            "run_result": result,
            "executor_pod_name": None,
            "files": {},
        }
        return 200, json.dumps(reply).encode()

    good, bad = StubHost(lambda body: answer(body, False)), StubHost(lambda body: answer(body, True))
    try:
        RemoteSandbox.open([good.url], ["numpy"]).close()
        RemoteSandbox.open([good.url, bad.url]).close()
        with pytest.raises(
            SandboxUnavailable, match=rf"not every host can import numpy: {bad.url}: .*No module"
        ):
            RemoteSandbox.open([good.url, bad.url], ["numpy"])
    finally:
        good.close()
        bad.close()


def test_a_launch_says_once_what_programs_may_import() -> None:
    plain = RewardConfig(name="code")
    named = RewardConfig(name="code", params={"sandbox": {"packages": ["numpy"]}})
    assert import_notes([RewardConfig(name="format"), plain, plain]) == [
        f"reward code: {describe_imports(SandboxSettings())}"
    ]
    assert "not numpy" in import_notes([plain])[0]
    assert "the standard library, numpy and what" in import_notes([named])[0]
    remote = SandboxSettings(urls=("http://one:1",), packages=("numpy",))
    assert "numpy were found there" in describe_imports(remote)
