"""The cause of a remote error stands first and whole; nothing of Ray's text is lost."""

import pytest
import ray.exceptions
from hypothesis import given
from hypothesis import strategies as st
from ray.core.generated.common_pb2 import ActorDiedErrorContext

from grpo.cluster import ray_session
from grpo.common.errors import RunError
from rewards.errors import RewardLoadError
from rollout.ray_errors import cause_of, explain, never_ran

TRACE = """\x1b[36mray::RewardWorker.__init__()\x1b[39m (pid=7, ip=127.0.0.1, actor_id=ab)
  File "/x/scorer.py", line 3, in start
    raise error
"""


def creation_error(cause: Exception) -> ray.exceptions.ActorDiedError:
    """As Ray makes it of what a constructor raised."""
    text = f"Traceback (most recent call last):\n{TRACE}{type(cause).__name__}: {cause}"
    failed = ray.exceptions.RayTaskError("RewardWorker.__init__", text, cause)
    return ray.exceptions.ActorDiedError.from_task_error(failed)


@pytest.mark.parametrize(
    "message", ["no reward 'x'", "no file a.py\n\ndid you mean b.py?\n  c.py", "a: b: c", "x\nnote: y"]
)
def test_an_error_of_a_constructor_is_shown_whole_with_its_cause_first(message: str) -> None:
    shown = explain(creation_error(RewardLoadError(message)))
    assert shown.startswith(f"RewardLoadError: {message}\n")
    assert "scorer.py" in shown
    assert "\x1b" not in shown


def test_the_driver_reports_who_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise creation_error(ModuleNotFoundError("No module named 'rewards'"))

    monkeypatch.setattr(ray_session.ray, "get", fails)
    with pytest.raises(RunError) as error:
        ray_session.get([], "reward worker")
    assert str(error.value).startswith(
        "reward worker: could not start: ModuleNotFoundError: No module named 'rewards'\n"
    )


def test_a_process_that_ended_tells_what_ray_knows() -> None:
    error = ray.exceptions.RayActorError(
        error_msg="The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tpid: 5\n"
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR. Out of memory."
    )
    assert explain(error) == (
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR. Out of memory.\n"
        "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tpid: 5"
    )


def test_an_actor_that_never_ran_is_told_from_one_that_died() -> None:
    def died(never_started: bool, node: bool) -> ray.exceptions.ActorDiedError:
        text = "its node has died" if node else "its worker process has died"
        context = ActorDiedErrorContext(
            error_message=f"The actor died because {text}. Node Id: f2df8b",
            never_started=never_started,
            actor_id=bytes(16),
        )
        return ray.exceptions.ActorDiedError(context)

    assert never_ran(died(never_started=True, node=True))
    assert not never_ran(died(never_started=False, node=True))
    assert not never_ran(died(never_started=True, node=False)), (
        "a process that ends at its start may do so for ever"
    )


def test_an_environment_that_cannot_be_made_is_shown_whole() -> None:
    error = ray.exceptions.RuntimeEnvSetupError("pip failed\nno network")
    assert "no network" in explain(error)


@given(text=st.text(alphabet='aE: \n\t"F', max_size=40))
def test_nothing_of_a_message_is_lost(text: str) -> None:
    error = ray.exceptions.RayActorError(error_msg=text)
    assert cause_of(error)
    assert {line.strip() for line in text.split("\n")} <= {
        line.strip() for line in explain(error).split("\n")
    } | {""}
