"""A wrong address is one error within seconds; a TMPDIR that Ray's sockets cannot have is seen before it starts."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import cast

import grpc
import pytest

from grpo.cli import app
from grpo.cluster import address as addresses
from grpo.cluster import ray_session
from grpo.cluster.address import probe
from grpo.common.errors import RunError
from tests.signals import listening  # noqa: F401 - a fixture
from tests.tiny import free_port


@pytest.fixture
def service() -> Iterator[Callable[[bytes | None], int]]:
    """Listens on a port and answers every connection with these bytes; None: never."""
    sockets: list[socket.socket] = []

    def serve(answer: bytes | None) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def talk() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                sockets.append(connection)
                if answer is not None:
                    connection.recv(100)
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=talk, daemon=True).start()
        return int(server.getsockname()[1])

    yield serve
    for one in sockets:
        one.close()


@pytest.mark.usefixtures("listening")  # the command takes the signals of its process
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_command_finds_a_wrong_address_before_it_reads_model_and_data(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = f"127.0.0.1:{free_port()}"
    words = ["rl", "r1-zero-tiny", "--model", "./nowhere"]
    if by == "option":
        words += ["--address", wrong]
    else:
        monkeypatch.setenv("RAY_ADDRESS", wrong)
    with pytest.raises(RunError, match=f"no Ray cluster at '{wrong}'"):
        app(words, standalone_mode=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["auto", "local"])
def test_what_ray_finds_itself_is_not_probed(address: str) -> None:
    probe(address)


def test_a_service_that_speaks_grpc_is_let_through() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        probe(f"127.0.0.1:{port}")
        probe(f"ray://127.0.0.1:{port}")
    finally:
        server.stop(None)


def test_a_port_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        RunError, match=rf"no Ray cluster at '127.0.0.1:{port}': Connection refused; `ray start --head`"
    ):
        probe(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(b"HTTP/1.1 404 no\r\n\r\n", "job server of `grpo submit`"), (b"SSH-2.0\r\n", ""), (b"", "")],
)
def test_another_service(service: Callable[[bytes | None], int], answer: bytes, hint: str) -> None:
    with pytest.raises(RunError, match=f"another service listens there.*{hint}"):
        probe(f"127.0.0.1:{service(answer)}")


def test_a_service_that_never_answers(
    service: Callable[[bytes | None], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "PROBE_TIMEOUT_S", 0.05)
    with pytest.raises(RunError, match="no answer within"):
        probe(f"127.0.0.1:{service(None)}")


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port", "head:0", "head:70000", ""])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(RunError, match="expected host:port, `auto` or `local`"):
        probe(address)


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(RunError, match=r"no host is called 'nowhere\.invalid'"):
        probe("nowhere.invalid:6379")


def test_the_session_never_starts_at_a_wrong_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    with pytest.raises(RunError, match="Connection refused"), ray_session.connect("127.0.0.1:1"):
        pass


def test_a_long_tmpdir_is_replaced_or_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp/short")
    assert ray_session.temp_dir() is None
    monkeypatch.setenv("TMPDIR", "/" + "x" * ray_session.LONGEST_TMP)
    assert ray_session.temp_dir() == "/tmp/ray"
    assert "TMPDIR is too long for Ray's sockets" in capsys.readouterr().out
    monkeypatch.setattr(ray_session, "SHORT_TMP", tmp_path / "absent")
    with pytest.raises(RunError, match=r"has \d+ bytes; Ray's sockets allow \d+.*RAY_TMPDIR"):
        ray_session.temp_dir()


@pytest.mark.parametrize(("extra", "reason"), [(0, "No such file"), (2, "path too long")])
def test_the_limit_is_what_a_socket_takes(extra: int, reason: str) -> None:
    """The longest allowed folder makes a path that the kernel takes; two more do not (Linux: 108, Ray: 107)."""
    name = "/ray/session_2026-11-30_12-00-00_123456_1234567/sockets/plasma_store"
    folder = "/" + "x" * (ray_session.LONGEST_TMP - 1 + extra)
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(OSError, match=reason):
        client.connect(folder + name)


def test_a_ray_that_does_not_come_up_is_one_error_with_the_load_and_its_logs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def times_out(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", times_out)
    expected = r"Ray did not start: The current node timed out .* load is .*logs"
    with pytest.raises(RunError, match=expected), ray_session.connect("local", tmp_path):
        pytest.fail("there is no Ray")


def test_an_own_ray_is_patient_with_a_busy_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After five missed checks, a minute of other work, Ray gave its node up and ended the run's own process."""
    seen: dict[str, object] = {}

    def stops(**options: object) -> None:
        seen.update(options)
        raise ValueError("enough")

    monkeypatch.setattr("ray.init", stops)
    with pytest.raises(RunError), ray_session.connect("local", tmp_path):
        pytest.fail("there is no Ray")
    from ray._raylet import Config

    config = cast("dict[str, int]", seen["_system_config"])
    assert all(hasattr(Config, name) for name in config), "Ray does not know this setting"
    # Not Config's own value: in a process that has started a Ray it is the one that was set.
    assert config["health_check_failure_threshold"] >= 50
