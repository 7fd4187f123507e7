from pathlib import Path

import pytest

from data_recipes.worlds.chain.tokenizer import build_tokenizer
from policies.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return load_tokenizer(folder)
