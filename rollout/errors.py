"""Errors of this package.

RolloutError (RuntimeError)
├── WeightSyncError     the engine does not hold the weights that the learner published
├── StaleEngine         a chunk asks for another policy version than the engine holds
└── WorkersLost         no rollout worker is left and none can be restarted
"""


class RolloutError(RuntimeError):
    """Generation cannot go on."""


class WeightSyncError(RolloutError):
    """Names the tensor (transport fault) or the canary prompt and position (fault after loading)."""


class StaleEngine(RolloutError):
    """The engine's policy version is not the chunk's."""


class WorkersLost(RolloutError):
    """Every rollout worker died more often than the restart limit allows."""
