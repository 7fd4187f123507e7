import ast

import pytest

from data_recipes.code_tests.mutants import mutants

SOURCE = '''
def clamp(x, low, high):
    """Into the interval."""
    if x < low and low is not None:
        return low
    for _ in range(3):
        x += 1
    return min(x, high)[1:] or "text"
'''


def test_mutants_are_different_programs_one_edit_away() -> None:
    found = mutants(SOURCE, 1000)
    assert len(found) == len(set(found)) > 15
    original = ast.unparse(ast.parse(SOURCE))
    for text in found:
        assert text != original
        changed = [a for a, b in zip(text.splitlines(), original.splitlines(), strict=True) if a != b]
        assert len(changed) == 1
        assert '"""Into the interval."""' in text


def test_edits_stay_inside_the_function_that_is_named() -> None:
    found = mutants(f"def helper(x):\n    return x + 1\n{SOURCE}", 1000, function="helper")
    assert found
    assert all("return min(x, high)[1:] or 'text'" in text for text in found)


def test_the_seed_draws_and_repeats() -> None:
    assert mutants(SOURCE, 5, seed=1) == mutants(SOURCE, 5, seed=1)
    assert mutants(SOURCE, 5, seed=1) != mutants(SOURCE, 5, seed=2)
    assert len(mutants(SOURCE, 5)) == 5
    with pytest.raises(SyntaxError):
        mutants("def (", 1)
