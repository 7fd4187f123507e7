"""Short word problems and everyday requests in plain English, for a small pre-trained model on two cores."""
