"""Consumer groups: a handler, workers that keep order, and commits that never pass a record that is not done."""
