"""What a supervised stage trains on, as a type: the loop, the ranks and the objective agree on one class of items."""

from __future__ import annotations

from typing import Protocol, TypeVar


class Item(Protocol):
    """A picklable object of the stage's own."""

    @property
    def id(self) -> str:
        """Name of the item, the same in every run."""


ItemT = TypeVar("ItemT", bound=Item)
"""The items of one stage."""
TakenT = TypeVar("TakenT", bound=Item, contravariant=True)
"""The items that an objective takes."""
