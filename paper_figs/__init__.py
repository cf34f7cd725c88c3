"""The figures of Marion et al. (2025), one module each.

Every module has `BUDGETS` (the declared experiments by the name of the budget), `compute(budget, seed,
workers)`, which gives a dataset, `draw(dataset)`, which gives a figure, and `check(dataset)`, which gives the
criteria that the numbers must meet. ``python -m paper_figs --help`` runs them.
"""
