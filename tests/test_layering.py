"""The rules of ARCHITECTURE.md about who imports whom, read from the source's syntax trees.

Each rule is a function `(root) -> list of violations`; each is shown to find a planted one.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from grpo.stages.registry import BUILTINS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("policies", "rollout", "rewards", "data_recipes", "grpo")
"""Lowest first: a package may import itself and those before it."""
CONFINED = {
    "ray": {
        "rollout/actor.py",
        "rollout/gang.py",
        "rollout/gang_calls.py",
        "rollout/transport/gloo.py",
        "rollout/transport/object_store.py",
        "rewards/scoring/actor.py",
        "grpo/cluster/bundles.py",
        "grpo/cluster/handles.py",
        "grpo/cluster/ranks.py",
        "grpo/cluster/ray_session.py",
        "grpo/cluster/rl_cluster.py",
        "grpo/tools/submit.py",
    },
    "vllm": {
        "rollout/vllm_engine.py",
        "rollout/vllm_loaders.py",
        "rollout/vllm_readback.py",
        "rollout/vllm_router.py",
        "rollout/vllm_routing.py",
        "rollout/vllm_sampling.py",
        "rollout/vllm_shared_memory.py",
        "rollout/vllm_server.py",
        "rollout/vllm_weights.py",
    },
}
HEAVY = {
    "numpy",
    "pyarrow",
    "torch",
    "transformers",
    "ray",
    "vllm",
    "datasets",
    "peft",
    "accelerate",
    "pandas",
    "sympy",
    "math_verify",
}
"""What `grpo --help` and the reading of a config must not wait for."""
LIGHT_STEMS = {"cli", "config", "types", "errors", "settings"}
LIGHT_FOLDERS = ("grpo/common/", "grpo/config/", "grpo/commands/", "grpo/stages/")
FLOORS = (
    ("common",),
    ("config",),
    ("algorithm", "memory"),
    ("tracking", "training"),
    ("rl",),
    ("cluster",),
    ("supervised", "pretrain"),
    ("stages",),
    ("graph",),
    ("plan",),
    ("tools", "view"),
    ("commands",),
    ("",),
)
"""The folders of `grpo/`, lowest first ("": cli.py); a folder may import itself and those on lower floors."""
MAX_LINES = 400
MAX_ANY = 150
ANY_REASON = re.compile(r"^from typing import .*\bAny\b.*#|\bAny(:| because) ", re.MULTILINE)
MATHS = tuple(
    f"grpo/algorithm/{stem}.py"
    for stem in (
        "advantages", "aggregations", "importance", "kl", "losses", "policy_losses", "ratios", "segments"
    )
)  # fmt: skip
MATHS_MAY_IMPORT = {"torch", "numpy", "grpo"} | set(sys.stdlib_module_names)


@dataclass(frozen=True)
class Import:
    """One imported module, where it stands, and whether it runs when the file is imported."""

    module: str
    line: int
    at_import: bool


def files(root: Path) -> Iterator[tuple[str, Path]]:
    """("grpo/rl/loop.py", path) of every source file."""
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path


def imports(path: Path) -> list[Import]:
    """Every import of a file: at the top, inside functions, under TYPE_CHECKING, and by importlib with a literal."""
    found: list[Import] = []

    def visit(node: ast.AST, runs: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, runs) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append(Import(node.module, node.lineno, runs))
            # `from grpo import kl` imports the module grpo.algorithm.kl.
            found.extend(Import(f"{node.module}.{alias.name}", node.lineno, runs) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = ast.unparse(node.func)
            if name in ("__import__", "import_module", "importlib.import_module"):
                found.append(Import(str(node.args[0].value), node.lineno, runs))
        inner = runs and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, False)
            for child in node.orelse:
                visit(child, runs)
            return
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(path.read_text(encoding="utf-8"), str(path)), True)
    return found


def top(module: str) -> str:
    return module.partition(".")[0]


def imports_that_go_back(root: Path) -> list[str]:
    """A lower package imports a higher one, types included."""
    return sorted(
        {
            f"{name}:{found.line} imports {top(found.module)}"
            for name, path in files(root)
            for found in imports(path)
            if top(found.module) in PACKAGES
            and PACKAGES.index(top(found.module)) > PACKAGES.index(name.partition("/")[0])
        }
    )


def engines_outside_their_files(root: Path) -> list[str]:
    """Ray or vLLM is imported by a file that is not on the list."""
    return sorted(
        {
            f"{name}:{found.line} imports {top(found.module)}"
            for name, path in files(root)
            for found in imports(path)
            if name not in CONFINED.get(top(found.module), {name})
        }
    )


def packages_that_are_not_light(root: Path) -> list[str]:
    """An `__init__.py` imports something; that of grpo alone may import the check for files that hide a package."""
    allowed = {"grpo/__init__.py": {"grpo.common.shadows", "grpo.common.shadows.refuse_shadows"}}
    return [
        f"{name} imports"
        for name, path in files(root)
        if path.name == "__init__.py" and {found.module for found in imports(path)} - allowed.get(name, set())
    ]


def folder_of(module: str) -> str | None:
    """Of a module of `grpo`: "rl" of grpo.rl.loop, "" of grpo.cli; None if it is the package itself."""
    parts = module.split(".")
    if parts[0] != "grpo" or len(parts) == 1:
        return None
    folders = {folder for floor in FLOORS for folder in floor}
    return parts[1] if parts[1] in folders or len(parts) > 2 else ""


def imports_that_climb(root: Path) -> list[str]:
    """A folder of `grpo/` imports one on its own floor or above, or stands on no floor."""
    floor = {folder: number for number, floor in enumerate(FLOORS) for folder in floor}
    found = set()
    for name, path in files(root):
        here = folder_of(name.removesuffix(".py").replace("/", "."))
        if here is None or path.name == "__init__.py":
            continue
        if here not in floor:
            found.add(f"{name} is in no folder of FLOORS")
            continue
        for line in imports(path):
            there = folder_of(line.module)
            if there and there != here and floor.get(there, 99) >= floor[here]:
                found.add(f"{name}:{line.line} imports grpo.{there}")
    return sorted(found)


def circles(edges: dict[str, set[str]]) -> list[str]:
    """The nodes of each circle of a graph, as one line a circle."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        queue = [start]
        while queue:
            for there in edges.get(queue.pop(), set()) - seen:
                seen.add(there)
                queue.append(there)
        return seen

    reach = {node: reached(node) for node in edges}
    found = {
        frozenset(other for other in reach[node] if node in reach.get(other, ()))
        for node in edges
        if node in reach[node]
    }
    return sorted(" ⇄ ".join(sorted(circle)) for circle in found)


def own_modules(root: Path) -> dict[str, Path]:
    """{"grpo.rl.loop": path} of every source file."""
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for name, path in files(root)
    }


def folders_in_a_circle(root: Path) -> list[str]:
    """Two folders, of whatever package, reach each other through imports, those inside functions included."""
    own = own_modules(root)
    edges: dict[str, set[str]] = {}
    for path in own.values():
        here = path.parent.relative_to(root).as_posix()
        targets = {own[found.module] for found in imports(path) if found.module in own}
        folders = {t.parent.relative_to(root).as_posix() for t in targets if t.name != "__init__.py"}
        edges.setdefault(here, set()).update(folders - {here})
    return circles(edges)


def modules_in_a_circle(root: Path) -> list[str]:
    """Modules import each other when they are imported."""
    own = own_modules(root)
    return circles(
        {
            module: {found.module for found in imports(path) if found.at_import and found.module in own}
            for module, path in own.items()
        }
    )


def trainers_that_know_a_task_world(root: Path) -> list[str]:
    """A file of `grpo/` other than `pretrain/corpora.py`, which lists their corpora, imports a task world."""
    return sorted(
        {
            f"{name}:{found.line} imports a task world"
            for name, path in files(root)
            if name.startswith("grpo/") and name != "grpo/pretrain/corpora.py"
            for found in imports(path)
            if found.module.startswith("data_recipes.worlds")
        }
    )


def files_too_long(root: Path) -> list[str]:
    """A file of more than 400 lines."""
    return [
        f"{name} has {lines} lines"
        for name, path in files(root)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    ]


def relative_imports(root: Path) -> list[str]:
    """A relative import, which the other rules do not follow."""
    return [
        f"{name}:{node.lineno}"
        for name, path in files(root)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def heavy_imports_of_light_modules(root: Path) -> list[str]:
    """cli, config, types, errors and all that they import at import time must not reach a heavy library."""
    own = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for name, path in files(root)
    }
    seen: set[str] = set()
    queue = [
        module
        for module, path in own.items()
        if module.rpartition(".")[2] in LIGHT_STEMS
        or path.relative_to(root).as_posix().startswith(LIGHT_FOLDERS)
    ]
    violations = set()
    while queue:
        module = queue.pop()
        if module in seen:
            continue
        seen.add(module)
        for found in imports(own[module]):
            if found.at_import and top(found.module) in HEAVY:
                violations.add(f"{module}:{found.line} imports {top(found.module)}")
            if found.at_import and found.module in own:
                queue.append(found.module)
    return sorted(violations)


def impure_maths(root: Path) -> list[str]:
    """Advantages, KL and losses import more than torch, NumPy and themselves."""
    return sorted(
        {
            f"{name}:{found.line} imports {top(found.module)}"
            for name, path in files(root)
            if name in MATHS
            for found in imports(path)
            if top(found.module) not in MATHS_MAY_IMPORT
        }
    )


def stages_known_by_name(root: Path) -> list[str]:
    """Outside its own file a stage is asked, never recognised: `if command == "rl"`, `{"sample": …}.get(command)`."""
    found = []
    for name, path in files(root):
        if not name.startswith(("grpo/graph/", "grpo/plan/", "grpo/commands/", "grpo/tools/", "grpo/cli")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)} & BUILTINS.keys()
            compares = isinstance(node, ast.Compare) and re.search("command|stage", ast.unparse(node))
            if (compares and named) or (isinstance(node, ast.Dict) and len(named) > 1):
                found.append(f"{name}:{node.lineno} knows {', '.join(sorted(named))}")
    return found


def too_many_uses_of_any(root: Path) -> list[str]:
    """`Any`, which no checker looks behind, is used more than 150 times."""
    uses = {name: found for name, path in files(root) if (found := uses_of_any(path))}
    most = sorted(uses, key=lambda name: -uses[name])[:5]
    if sum(uses.values()) <= MAX_ANY:
        return []
    return [
        f"{sum(uses.values())} uses of Any, most in {', '.join(f'{name} ({uses[name]})' for name in most)}"
    ]


def any_without_a_reason(root: Path) -> list[str]:
    """A file uses `Any` and says why neither beside the import nor beside a use ("Any: …")."""
    return [
        f"{name} does not say why"
        for name, path in files(root)
        if uses_of_any(path) and not ANY_REASON.search(path.read_text(encoding="utf-8"))
    ]


def uses_of_any(path: Path) -> int:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree))


RULES: dict[Callable[[Path], list[str]], list[tuple[str, str]]] = {
    imports_that_go_back: [
        ("rollout/router.py", "import rewards.types"),
        ("policies/load.py", "def f():\n    from rollout.types import Prompt"),
        (
            "rewards/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from grpo.algorithm.types import TrainGroup",
        ),
    ],
    engines_outside_their_files: [
        ("grpo/rl/loop.py", "import ray"),
        ("rollout/router.py", "def f():\n    from vllm.engine import LLM"),
        ("grpo/cluster/actor.py", "import vllm"),
        ("grpo/a.py", "import importlib\nimportlib.import_module('ray.util')"),
    ],
    imports_that_climb: [
        ("grpo/rl/loop.py", "from grpo.stages.rl import run"),
        ("grpo/training/learner.py", "def f():\n    from grpo.tracking import metrics"),
        ("grpo/new/thing.py", "import json"),
        ("grpo/common/files.py", "import grpo.config.rl"),
    ],
    folders_in_a_circle: [
        ("rewards/math/answer.py", "import rewards.text.extract\n"),
        ("rewards/math/answer.py", "def f():\n    from rewards.text import extract\n"),
    ],
    modules_in_a_circle: [("rewards/text/words.py", "import rewards.text.extract\n")],
    trainers_that_know_a_task_world: [
        ("grpo/training/learner.py", "def f():\n    import data_recipes.worlds.chain.corpus"),
    ],
    files_too_long: [("rollout/router.py", "x = 1\n" * 401)],
    too_many_uses_of_any: [
        ("rollout/router.py", "from typing import Any  # Any: rows\n" + "x: dict[str, Any]\n" * 151),
        ("grpo/rl/loop.py", "def f(*values: " + "Callable[[Any], Any] | " * 75 + "Any) -> None: ..."),
    ],
    any_without_a_reason: [
        ("rollout/router.py", "from typing import Any\n\nx: Any\n"),
        ("policies/load.py", 'from typing import Any, cast\n\nx: Any\n"""Any value."""\n'),
    ],
    packages_that_are_not_light: [("rollout/__init__.py", "from rollout.types import Prompt")],
    relative_imports: [("grpo/rl/loop.py", "from . import kl")],
    stages_known_by_name: [
        ("grpo/graph/page.py", "def f(command):\n    return command == 'rl'"),
        ("grpo/plan/rates.py", "def f(node):\n    return node.command in ('sample', 'eval')"),
        ("grpo/graph/rows.py", "def f(command):\n    return {'sample': 1, 'curate': 2}.get(command)"),
    ],
    heavy_imports_of_light_modules: [
        ("grpo/config/sections.py", "import torch"),
        ("grpo/stages/rl.py", "import ray"),
        ("grpo/cli.py", "from grpo.helpers import f\n"),
        ("grpo/cli.py", "from grpo import helpers\n"),
        ("rewards/types.py", "class A:\n    import transformers"),
    ],
    impure_maths: [
        ("grpo/algorithm/losses.py", "def f():\n    import pydantic"),
        ("grpo/algorithm/kl.py", "from rollout.types import Prompt"),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(rule: Callable[[Path], list[str]]) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [(rule, *planted) for rule, cases in RULES.items() for planted in cases],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_rule_finds_a_planted_violation(
    rule: Callable[[Path], list[str]], name: str, source: str, tmp_path: Path
) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for folder in ("algorithm", "cluster", "common", "config", "rl", "stages", "training"):
        (tmp_path / "grpo" / folder).mkdir()
    # What heavy_imports_of_light_modules must follow, and what none of the rules minds.
    (tmp_path / "grpo" / "helpers.py").write_text("import transformers\n")
    (tmp_path / "rollout" / "actor.py").write_text("import ray\nfrom policies import load\n")
    (tmp_path / "grpo" / "stage.py").write_text(
        "from rollout.types import Prompt\nimport grpo.algorithm.kl\n"
    )
    for folder in ("math", "text"):
        (tmp_path / "rewards" / folder).mkdir()
    (tmp_path / "rewards" / "text" / "extract.py").write_text(
        "import rewards.text.words, rewards.math.parse\n"
    )
    (tmp_path / "rewards" / "text" / "words.py").write_text("import re\n")
    (tmp_path / "rewards" / "math" / "parse.py").write_text("import re\n")
    assert rule(tmp_path) == []
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(source)
    assert len(rule(tmp_path)) == 1


def test_rules_see_the_source() -> None:
    names = [name for name, _ in files(ROOT)]
    assert {"grpo/rl/loop.py", "rollout/types.py", "policies/settings.py", *MATHS} <= set(names)
    assert {name for confined in CONFINED.values() for name in confined} <= set(names)


def test_the_map_in_architecture_shows_the_folders_in_their_order() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("| folder, top floor first |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    shown = [{"" if name in ("cli", "api") else name for name in row} for row in rows]
    assert shown == [set(floor) for floor in reversed(FLOORS)]
    there = {path.parent.name for path in (ROOT / "grpo").glob("*/__init__.py")}
    assert there == {folder for floor in FLOORS for folder in floor if folder}
    others = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES[:-1]
        for path in (ROOT / package).rglob("__init__.py")
    }
    nested = ("rewards/sandbox/", "data_recipes/worlds/")  # shown by the folder above
    assert {name for name in others if not name.startswith(nested) and f"`{name}/`" not in text} == set()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from grpo.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "doctor" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_driver_of_a_stage_holds_no_weights() -> None:
    """What runs beside the actors needs no torch: 200 MiB and two seconds, for as long as a run lasts."""
    loaded = sorted(
        name.removesuffix(".py").replace("/", ".")
        for name, _ in files(ROOT)
        if name.startswith(("grpo/stages/", "grpo/cluster/", "grpo/supervised/"))
    )
    assert {"grpo.stages.rl", "grpo.cluster.placement"} <= set(loaded)
    code = "import sys\n" + "".join(f"import {module}\n" for module in loaded)
    code += "print('loaded:', sorted({'torch', 'transformers', 'vllm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "loaded: []"
