"""A topic in files: written whole or not at all, gone on with after a crash, and loaded again."""
