"""The figures of four papers, and some of no paper, one module each; `catalogue` has their names.

Every module has `BUDGETS` (the declared experiments by the name of the budget), `compute(budget,
seed)`, which gives a dataset, `draw(dataset)`, which gives a figure, and `check(dataset)`, which gives the
claims that must hold. The docstring is the caption. ``python -m paper_figs --help`` runs them.
"""
