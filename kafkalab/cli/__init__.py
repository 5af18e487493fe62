"""The command ``kafkalab``: what a `Lab` does, in a terminal."""
