"""What a notebook shows of an object that works without it; only here ipywidgets is imported."""
