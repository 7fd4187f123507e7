"""Names for data that has no class yet: JSON, TOML, rows of data sets, keyword arguments of other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonDict = dict[str, Any]
"""A JSON object, a TOML table or a row: text keys, values of any kind. Any: a reader checks each value that it uses."""
JsonMapping = Mapping[str, Any]
"""The same, read only."""
