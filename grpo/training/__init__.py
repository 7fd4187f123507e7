"""Learners, one per rank: forward, loss, optimizer, reference policy, checkpoints."""
