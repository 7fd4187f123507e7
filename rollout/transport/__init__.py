"""How weights travel from the learner to the engines: a stream of windows, each verified."""
