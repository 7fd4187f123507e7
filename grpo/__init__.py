"""The trainer and its command line: stages, the RL loop, learners, run directories, the stage graph."""

from grpo.common.shadows import refuse_shadows

refuse_shadows()
