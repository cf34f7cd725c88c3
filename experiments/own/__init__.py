"""Beside the papers."""
