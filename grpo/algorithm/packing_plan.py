"""Plans which items go to which rank or pack, from their sizes alone. Pure: equal sizes give equal plans.

balance(sizes, 2)      items → ranks, largest first, each to the rank with the least (R1 B.1)
best_fit(sizes, 4096)  items → packs of at most so many tokens, best-fit decreasing (R1 B.1)
"""

from __future__ import annotations

from collections.abc import Sequence


def balance(sizes: Sequence[int], ranks: int) -> list[list[int]]:
    """Divide items so that the ranks' sums of sizes are about equal; returns each rank's indices, ascending."""
    bins: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for i in _largest_first(sizes):
        rank = loads.index(min(loads))
        bins[rank].append(i)
        loads[rank] += sizes[i]
    return [sorted(chosen) for chosen in bins]


def best_fit(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Fill packs of at most `budget`; returns each pack's indices, ascending. An item over it gets its own pack."""
    bins: list[list[int]] = []
    rooms: list[int] = []
    for i in _largest_first(sizes):
        fitting = [(room, b) for b, room in enumerate(rooms) if room >= sizes[i]]
        if fitting:
            _, best = min(fitting)
            bins[best].append(i)
            rooms[best] -= sizes[i]
        else:
            bins.append([i])
            rooms.append(budget - sizes[i])
    return [sorted(chosen) for chosen in bins]


def _largest_first(sizes: Sequence[int]) -> list[int]:
    return sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
