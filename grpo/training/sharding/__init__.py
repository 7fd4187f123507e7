"""The learner divided over ranks: process groups, wrapped layers, experts on their own axis."""
