"""The embedded models: corpus, training, weights, cards."""
