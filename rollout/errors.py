"""Errors of this package.

RolloutError (RuntimeError)
├── WeightSyncError     the engine does not hold the weights that the learner published
├── NoRoomForWeights    a version of the weights does not fit where it would be published
├── StaleEngine         a chunk asks for another policy version than the engine holds
└── WorkersLost         no rollout worker is left and none can be restarted
"""


class RolloutError(RuntimeError):
    """Sampling cannot continue."""


class WeightSyncError(RolloutError):
    """The engine's weights are wrong; the message names the tensor, or the canary prompt and position."""


class NoRoomForWeights(RolloutError):
    """A version of the weights does not fit; the message has its size, the place and what is free there."""


class StaleEngine(RolloutError):
    """The engine's policy version is not the chunk's."""


class WorkersLost(RolloutError):
    """The rollout workers died more often than the restart limit allows."""
