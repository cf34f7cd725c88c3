"""Experiments: each module declares models, a grid and observables, runs them, and summarises the result.

A declaration is a frozen dataclass whose `run` returns a labelled dataset; its attributes say from which
declaration, seed and versions it came. Nothing is drawn here: figures are in `paper_figs`.
"""
