"""Bytes into columns, Arrow to Arrow: one module a format."""
