"""The supervised core: epochs, packs, ranks, the gradient, checkpoints, the driver's loop."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from grpo.algorithm.packing_plan import balance, best_fit
from grpo.common.errors import BrokenRun, RunError
from grpo.config.best import BestConfig
from grpo.config.router import RouterConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.config.supervised import SupervisedConfig
from grpo.supervised.loop import take_holdout, train
from grpo.tracking.best import BestKeeper
from grpo.tracking.metrics import MetricsWriter
from grpo.training.checkpoint import EXAMPLES, latest, save_checkpoint
from grpo.training.epochs import BatchPlan, epoch_order
from grpo.training.supervised_learner import SupervisedLearner
from policies.load import load_policy
from policies.logprobs import completion_logprobs, hidden_states
from policies.packing import pack_documents
from policies.shards import whole
from tests.grpo.tiny_phase import VOCAB, make_policy
from tests.processes import meet, run_in_new_process, run_in_ranks
from tests.signals import listening  # noqa: F401 - a fixture

SIZES = st.lists(st.integers(1, 40), max_size=30)


# ---------------------------------------------------------------- epochs


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 4), st.integers(0, 5))
def test_every_example_comes_once_an_epoch(count: int, batch_size: int, epochs: int, seed: int) -> None:
    plan = BatchPlan([1.0] * count, batch_size, epochs, None, seed)
    batches = [plan.batch(step) for step in range(plan.steps)]
    assert all(len(b) == batch_size for b in batches[:-1])
    assert 0 < len(batches[-1]) <= batch_size
    order = [i for batch in batches for i in batch]
    for epoch in range(epochs):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert plan.epoch(plan.steps) == epochs
    # Whoever asks for a batch, and when, is given the same one.
    again = BatchPlan([1.0] * count, batch_size, epochs, None, seed)
    assert again.batch(plan.steps - 1) == batches[-1]


def test_epochs_are_shuffled_each_in_its_own_way() -> None:
    orders = [epoch_order([1.0] * 50, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(o) for o in [*orders, list(range(50))]}) == 5


@given(st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0, 2.5]), min_size=1, max_size=40), st.integers(0, 3))
def test_repeats_hold_in_every_epoch(repeats: list[float], seed: int) -> None:
    for epoch in range(2):
        counts = Counter(epoch_order(repeats, seed, epoch).tolist())
        assert all(int(r) <= counts[i] <= int(np.ceil(r)) for i, r in enumerate(repeats))
        for value in set(repeats):
            members = [i for i, r in enumerate(repeats) if r % 1 == value % 1]
            extra = sum(counts[i] - int(repeats[i]) for i in members)
            assert extra == round((value % 1) * len(members))


@given(st.integers(1, 40), st.integers(1, 25), st.integers(1, 3), st.integers(1, 3))
def test_a_run_that_goes_on_for_more_epochs_still_takes_every_example_once_an_epoch(
    count: int, batch_size: int, epochs: int, more: int
) -> None:
    first = BatchPlan([1.0] * count, batch_size, epochs, None, 7)
    taken = [i for step in range(first.steps) for i in first.batch(step)]
    start = (first.steps, first.examples(first.steps))
    then = BatchPlan([1.0] * count, batch_size, epochs + more, None, 7, start)
    taken += [i for step in range(first.steps, then.steps) for i in then.batch(step)]
    for epoch in range(epochs + more):
        assert sorted(taken[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert len(taken) == count * (epochs + more)
    assert then.trained(then.steps) == taken
    assert then.epoch(then.steps) == epochs + more


def test_a_plan_can_be_cut_and_must_not_be_empty() -> None:
    assert BatchPlan([1.0] * 10, 3, 2, 4, 0).steps == 4
    assert BatchPlan([1.0] * 10, 3, 2, 99, 0).steps == 7
    with pytest.raises(ValueError, match="no example"):
        BatchPlan([0.1], 1, 1, None, 0)


@given(st.integers(1, 40), st.integers(0, 39), st.integers(0, 3))
def test_holdout_is_a_partition(count: int, holdout: int, seed: int) -> None:
    if holdout >= count:
        with pytest.raises(ValueError, match="leaves nothing"):
            take_holdout(count, holdout, seed)
        return
    kept, held = take_holdout(count, holdout, seed)
    assert sorted([*kept, *held]) == list(range(count))
    assert len(held) == holdout
    assert (kept, held) == take_holdout(count, holdout, seed)


# ---------------------------------------------------------------- packs and ranks


@given(SIZES, st.integers(1, 5))
def test_ranks_share_the_items_about_equally(sizes: list[int], ranks: int) -> None:
    shares = balance(sizes, ranks)
    assert len(shares) == ranks
    assert sorted(i for share in shares for i in share) == list(range(len(sizes)))
    loads = [sum(sizes[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@given(SIZES, st.integers(1, 60))
def test_packs_hold_every_item_once_within_the_budget(sizes: list[int], budget: int) -> None:
    packs = best_fit(sizes, budget)
    assert sorted(i for pack in packs for i in pack) == list(range(len(sizes)))
    assert all(len(pack) == 1 or sum(sizes[i] for i in pack) <= budget for pack in packs)
    loads = sorted(sum(sizes[i] for i in pack) for pack in packs)
    # No two packs would fit into one.
    assert len(loads) < 2 or loads[0] + loads[1] > budget


# ---------------------------------------------------------------- the learner


@dataclass(frozen=True)
class Item:
    """A document and the value that a head is to give for its last token."""

    id: str
    token_ids: np.ndarray
    value: float


class TinyObjective:
    """Next-token loss over all tokens, and with a seed of 1 and more a regression by a head beside it."""

    names: tuple[str, ...] = ("loss", "squares")

    def __init__(self, policy: nn.Module, learner: LearnerConfig, seed: int) -> None:
        self._policy = policy
        self.head: nn.Module | None = None
        if seed:
            head = nn.Linear(64, 1)
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                head.weight.normal_(0.0, 0.1, generator=generator)
                head.bias.zero_()
            self.head = head

    def tokens(self, item: Item) -> int:
        return len(item.token_ids)

    def weight(self, item: Item) -> float:
        return len(item.token_ids) - 1

    def begin(self, step: int, total_steps: int) -> None:
        pass

    def loss(self, items: Any) -> tuple[Tensor, dict[str, Tensor]]:
        packed = pack_documents([i.token_ids for i in items])
        nll = -completion_logprobs(self._policy, packed)[0].sum()
        if self.head is None:
            return nll, {"squares": torch.zeros(())}
        ends = torch.tensor(np.cumsum([len(i.token_ids) for i in items]) - 1)
        states = hidden_states(self._policy, packed)[ends]
        squares = (self.head(states)[:, 0] - torch.tensor([i.value for i in items])).square().sum()
        return nll + squares, {"squares": squares.detach()}


def make_items(count: int, seed: int = 0) -> list[Item]:
    rng = np.random.default_rng(seed)
    return [
        Item(str(n), rng.integers(0, VOCAB, rng.integers(2, 20)).astype(np.int32), float(rng.normal()))
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_policy(tmp_path_factory.mktemp("policy") / "v3")


def make(
    folder: Path, rank: int = 0, world: int = 1, budget: int = 4096, seed: int = 1, **options: Any
) -> SupervisedLearner:
    gamma = options.pop("gamma", 0.0)
    return SupervisedLearner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
        router=RouterConfig(bias_rate=gamma),
        optimizer=OptimizerConfig(**{"lr": 1e-3, "grad_clip": 1e9, "schedule": "cosine", **options}),
        learner=LearnerConfig(ranks=world, tokens_per_micro_batch=budget),
        objective=TinyObjective,
        model_path=folder,
        total_steps=8,
        seed=seed,
        rank=rank,
    )


def state(learner: SupervisedLearner) -> dict[str, Tensor]:
    tensors = {n: whole(p.detach()).clone() for n, p in learner.trained.parameters.items()}
    return tensors | {n: t.clone() for n, t in learner.trained.named_tensors()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def timeless(row: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in row.items() if not k.startswith("time/") and k != "tokens_per_s"}


def gradients(learner: SupervisedLearner, batch: list[Item]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What the optimizer is given."""
    seen: dict[str, Tensor] = {}

    def spy(lr: float, gradient_scale: float) -> None:
        seen.update({n: p.grad.clone() for n, p in learner.trained.parameters.items() if p.grad is not None})

    learner.trained.optimizer.step = spy  # type: ignore[method-assign]
    return seen, learner.update(batch, 0)


def test_gradient_is_that_of_one_document_at_a_time_in_float64(folder: Path) -> None:
    batch = make_items(7)
    learner = make(folder, budget=40)
    head = learner.objective.head
    assert isinstance(head, nn.Linear)
    found, row = gradients(learner, batch)

    model = load_policy(folder).double()
    model.set_attn_implementation("eager")  # type: ignore[operator]
    plain = nn.Linear(64, 1).double()
    plain.load_state_dict(head.state_dict())
    nll, squares = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for item in batch:
        ids = torch.tensor(item.token_ids, dtype=torch.int64)[None]
        out = model(input_ids=ids, output_hidden_states=True, use_cache=False)
        nll = nll - out.logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).sum()
        squares = squares + (plain(out.hidden_states[-1][0, -1])[0] - item.value).square()
    weight = sum(len(i.token_ids) - 1 for i in batch)
    ((nll + squares) / weight).backward()
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    expected |= {f"head.{n}": p.grad for n, p in plain.named_parameters()}  # type: ignore[misc]
    assert row["loss"] == pytest.approx(((nll + squares) / weight).item(), rel=1e-5)
    assert row["squares"] == pytest.approx((squares / weight).item(), rel=1e-4)
    norm = sum(g.square().sum() for g in expected.values()).sqrt().item()  # type: ignore[union-attr]
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name].double(), gradient, rtol=0, atol=2e-5 * norm, msg=name)


@settings(max_examples=8, deadline=None)
@given(budget=st.integers(1, 80), seed=st.integers(0, 3))
def test_packs_and_order_change_the_gradient_by_rounding_only(folder: Path, budget: int, seed: int) -> None:
    batch = make_items(6, seed)
    whole, a = gradients(make(folder), batch)
    parts, b = gradients(make(folder, budget=budget), random.Random(seed).sample(batch, len(batch)))
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=1e-5 * a["grad_norm"], msg=name)


def _rank(rank: int, folder: str, out: str) -> None:
    meet(rank, 2, Path(out) / "store")
    learner = make(Path(folder), rank, 2, gamma=0.01)
    rows = [learner.update(make_items(n, n), step) for step, n in enumerate((5, 1))]
    rows.append(learner.evaluate(make_items(5, 9)))
    torch.save((rows, state(learner)), f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_do_what_one_does(folder: Path, tmp_path: Path) -> None:
    """The second batch has one item: a rank without any takes part all the same."""
    run_in_ranks(_rank, str(folder), str(tmp_path), ranks=2)
    (rows, weights), (other_rows, other) = (torch.load(tmp_path / f"{r}.pt") for r in (0, 1))
    assert same(weights, other)
    assert [timeless(r) for r in rows] == [timeless(r) for r in other_rows]
    one = make(folder, gamma=0.01)
    single = [one.update(make_items(n, n), step) for step, n in enumerate((5, 1))]
    single.append(one.evaluate(make_items(5, 9)))
    for a, b in zip(rows, single, strict=True):
        assert timeless(a) == pytest.approx(timeless(b), rel=1e-4)
    for name, tensor in state(one).items():
        # Adam divides a gradient by its own size: rounding may turn the sign of one that is almost zero.
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=2.5e-3, msg=name)
        assert (weights[name] - tensor).abs().mean() < 1e-5, name


def test_the_held_out_loss_is_that_of_the_weights_and_moves_nothing(folder: Path) -> None:
    learner, items = make(folder), make_items(5, 4)
    before = state(learner)
    held = learner.evaluate(items)
    assert same(before, state(learner))
    assert held["loss"] == pytest.approx(learner.update(items, 0)["loss"], rel=1e-6)
    assert held.keys() == {"loss", "squares"}
    assert learner.evaluate(items)["loss"] < held["loss"]


def test_a_loss_that_is_not_finite_leaves_the_weights_alone(folder: Path) -> None:
    learner = make(folder)
    before = state(learner)
    with pytest.raises(RunError, match=r"step 3.*not applied.*optimizer\.lr"):
        learner.update([Item("a", np.array([1, 2, 3], np.int32), float("inf"))], 3)
    assert same(before, state(learner))
    assert all(p.grad is None for p in learner.trained.parameters.values())


def go_on(folder: Path, checkpoint: Path, out: Path) -> None:
    learner = make(folder, gamma=0.01, weight_decay=0.1)
    learner.load(checkpoint)
    rows = [timeless(learner.update(make_items(4, step), step)) for step in (2, 3)]
    torch.save((rows, state(learner)), out)


def test_continuation_in_a_new_process_is_bit_identical(folder: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        learner = make(folder, gamma=0.01, weight_decay=0.1)
        for step in (0, 1):
            learner.update(make_items(4, step), step)
        learner.save(tmp_path)
        rows = [timeless(learner.update(make_items(4, step), step)) for step in (2, 3)]
    finally:
        torch.set_num_threads(threads)
    out = tmp_path / "out.pt"
    run_in_new_process(go_on, folder, tmp_path, out)
    found, weights = torch.load(out)
    assert found == rows
    assert same(weights, state(learner))


def test_a_checkpoint_without_its_head_is_refused(folder: Path, tmp_path: Path) -> None:
    make(folder, seed=0).save(tmp_path)
    with pytest.raises(BrokenRun, match=r"head\.safetensors"):
        make(folder).load(tmp_path)


# ---------------------------------------------------------------- the driver's loop


class Killed(BaseException):
    pass


class OneRank:
    """`grpo.supervised.loop.Ranks` in this process; dies before an update, in a save or after it, on demand."""

    def __init__(
        self,
        learner: SupervisedLearner,
        root: Path,
        die_at: int = -1,
        die_saving: int = -1,
        die_saved: int = -1,
        stop_at: int = -1,
    ) -> None:
        self._learner, self._root = learner, root
        self._die_at, self._die_saving, self._die_saved = die_at, die_saving, die_saved
        self._stop_at = stop_at

    def update(self, batch: Any, step: int) -> dict[str, float]:
        if step == self._die_at:
            raise Killed
        if step == self._stop_at:
            signal.raise_signal(signal.SIGTERM)
        return self._learner.update(batch, step)

    def evaluate(self, items: Any) -> dict[str, float]:
        return self._learner.evaluate(items)

    def save(self, step: int, examples: int, protected: Sequence[int]) -> None:
        def write(folder: Path) -> None:
            self._learner.save(folder)
            if step == self._die_saving:
                raise Killed

        save_checkpoint(self._root, step, {EXAMPLES: examples}, write, 2, protected)
        if step == self._die_saved:
            raise Killed


def drive(
    folder: Path, run_dir: Path, best: BestConfig | None = None, **die: int
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    config = SupervisedConfig.model_validate(
        {
            "run_dir": run_dir,
            "policy": {"model": str(folder)},
            "epochs": 2,
            "batch_size": 4,
            "eval": {"every_steps": 3},
            "checkpoint": {"every_steps": 2},
            "best": best,
        }
    )
    items, held = make_items(11, 1), make_items(3, 2)
    learner = make(folder)
    checkpoint = latest(run_dir / "checkpoints")
    start = (checkpoint.step, checkpoint.extra[EXAMPLES]) if checkpoint else (0, 0)
    plan = BatchPlan([1.0] * 11, 4, 2, None, seed=3, start=start)
    if checkpoint:
        learner.load(checkpoint.path)
    step = checkpoint.step if checkpoint else 0
    writer = MetricsWriter(run_dir, resume_step=step or -1)
    ranks = OneRank(learner, run_dir / "checkpoints", **die)
    train(config, plan, step, items, held, ranks, writer, BestKeeper(run_dir, best, step))
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [timeless(json.loads(line)) for line in lines], state(learner)


@pytest.mark.parametrize(
    "die", [{"die_at": 0}, {"die_at": 3}, {"die_saving": 2}, {"die_saving": 4}, {"die_saved": 4}], ids=str
)
def test_a_killed_run_ends_with_the_same_rows_and_bits(
    folder: Path, tmp_path: Path, die: dict[str, int], uninterrupted: tuple[Any, Any]
) -> None:
    with pytest.raises(Killed):
        drive(folder, tmp_path, **die)
    rows, weights = drive(folder, tmp_path)
    assert rows == uninterrupted[0]
    assert same(weights, uninterrupted[1])


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("stop_at", [0, 2, 5])
def test_a_signal_leaves_a_checkpoint_of_the_update_that_it_met(
    folder: Path, tmp_path: Path, stop_at: int, uninterrupted: tuple[Any, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        drive(folder, tmp_path, stop_at=stop_at)
    saved = latest(tmp_path / "checkpoints")
    assert saved is not None
    assert saved.step == stop_at + 1, "the row and the checkpoint of an update belong together"
    rows, weights = drive(folder, tmp_path)
    assert rows == uninterrupted[0]
    assert same(weights, uninterrupted[1])


@pytest.mark.parametrize(
    "die", [{}, {"die_at": 4}, {"die_saving": 3}, {"die_saved": 3}, {"die_at": 5}, {"die_saved": 6}], ids=str
)
def test_the_best_are_kept_whatever_kills_the_run(folder: Path, tmp_path: Path, die: dict[str, int]) -> None:
    """Held-out loss is measured after 3 and 6 updates, and 3 is no regular checkpoint; the larger loss is wanted."""
    best = BestConfig(metric="heldout/loss", mode="max")
    if die:
        with pytest.raises(Killed):
            drive(folder, tmp_path, best, **die)
    rows, _ = drive(folder, tmp_path, best)
    losses = {row["step"]: row["heldout/loss"] for row in rows if "heldout/loss" in row}
    assert losses[3] > losses[6]
    judged = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [(row["step"], row["value"]) for row in judged] == [(3, losses[3]), (6, losses[6])]
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000003", "step-000004", "step-000006"]


def test_early_stop_ends_a_supervised_run_with_a_checkpoint_and_stays_stopped(
    folder: Path, tmp_path: Path
) -> None:
    best = BestConfig(
        metric="lr", mode="max", patience=1
    )  # the rate does not rise; judged at checkpoints: 2, 4
    rows, weights = drive(folder, tmp_path, best)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert "heldout/loss" in rows[-1]
    again, same_weights = drive(folder, tmp_path, best)
    assert again == rows
    assert same(weights, same_weights)
    longer, _ = drive(folder, tmp_path, best.model_copy(update={"patience": 3}))
    assert [row["step"] for row in longer] == [0, 1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def uninterrupted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    rows, weights = drive(folder, tmp_path_factory.mktemp("whole"))
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "heldout/loss" in row] == [0, 3, 6]
    assert rows[0].keys() == {"step", "heldout/loss", "heldout/squares"}
    assert rows[-1]["epoch"] == 2.0
    assert rows[-1]["heldout/loss"] < rows[0]["heldout/loss"]
    return rows, weights
