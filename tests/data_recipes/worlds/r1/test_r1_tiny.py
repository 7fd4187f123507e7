"""The recipe r1-tiny as a whole, without running it."""

import json
from typing import Any

import pytest

from data_recipes.prompts.rows import read_rows
from grpo.graph.parse import Graph, load_graph


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph("r1-tiny")


def test_every_stage_has_a_valid_config(graph: Graph) -> None:
    assert {node.command for node in graph.nodes.values()} == {
        "pretrain", "rl", "sample", "curate", "sft", "pairs", "reward-model", "distill", "eval",
    }  # fmt: skip


@pytest.mark.parametrize("recipe", ["r1", "r1-tiny"])
def test_every_config_comes_back_as_it_is_from_the_file_that_hands_it_to_its_process(recipe: str) -> None:
    for node in load_graph(recipe).nodes.values():
        written = json.dumps(node.config.model_dump(mode="json"))
        assert type(node.config).model_validate_json(written, strict=True) == node.config, node.name


def test_every_policy_of_a_table_is_evaluated_on_the_same_problems(graph: Graph) -> None:
    evaluations = [node for node in graph.nodes.values() if node.command == "eval"]
    rows = [(node.settings.row.table, node.settings.row.name) for node in evaluations if node.settings.row]
    assert len(set(rows)) == len(evaluations) == 13
    data = {
        str(config(graph, node.name).eval.data.model_copy(update={"template": ""})) for node in evaluations
    }
    assert len(data) == 1


def test_training_rows_of_chains_are_held_against_the_problems_of_the_evaluation(graph: Graph) -> None:
    asked = read_rows(config(graph, "eval-r1").eval.data)
    evaluated = {row["question"] for _, row in asked if row["kind"] == "math"}
    assert len(evaluated) == 210
    for name in ("cold-math", "rejection-math", "distill-rows"):
        (held_out,) = config(graph, name).decontaminate
        assert {row["question"] for _, row in read_rows(held_out.rows)} == evaluated


def config(graph: Graph, name: str) -> Any:
    return graph.nodes[name].config
