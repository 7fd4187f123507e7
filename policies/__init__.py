"""What is a property of the weights: building, loading, saving and computing with policies."""
