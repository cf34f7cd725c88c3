"""How large the parts of the project may become: what makes one larger says here what it adds."""

from places import sources

from resnet_sde.theorems import registry

# Lines of Python, at most. The first number of each sum is what stood when the plan of the house was made,
# which asks for a sixth less of it; the others are what has come since, and why.
LIMITS = {
    "core": 12_100
    + 2_250  # runs: records that know what decides them, processes, executors, clusters, faults
    + 115  # answers of clusters as bytes, schedulers that are gone, so that nothing keeps one waiting
    + 1_400  # contracts: parts of one's own are tried before they decide a number
    + 950  # training network by network, data of one's own, networks that are kept and changed
    + 650  # infinite width and limits: kernels of any size, facts of laws, equations that describe themselves
    + 1_750  # activations of any function: moments by quadrature in two variables, checks of functions
    + 300  # parts by name, with what can be chosen of them; weights and pre-activations for observables
    + 430  # blocks of networks, for hooks; tangent kernels, Jacobians and their infinite width
    + 650  # laws of short memory, tied, heavy-tailed and trained weights, and their limits
    + 175  # blocks with any matrices, their gradients by autograd, through revealed matrices too
    + 40  # what grows like a ReLU far out, for phases
    + 390  # normalized and gated branches, duals of one's own
    + 180  # random walks behind a normalization
    + 130  # hidden widths, fields that leave names as they were
    + 600  # convolutions, their limits, gradients of what they share, covariances of pairs of positions
    + 360  # limits and flows of any branch of one matrix, or of a stated covariance, and their checks
    + 380  # normalized streams: their mean field, limits on the sphere, refusals
    + 110  # theory for tensors of a GPU, tables that are kept on a device
    + 1_000  # testing: the checks that parts of the package and of one's own pass
    + 750,  # gradients of parameters and dropout, intervals that know their samples, pictures of studies
    "cli": 1_950 + 700,  # probe, depth-check, advise, merge, clusters, parts of one's own
    "theorems": 5_800
    + 250  # the catalogue of foundations; its page is in report
    + 40  # medians and deciles, for laws of which one network would decide a mean
    + 60,  # the drift of correlated weights
    "practice": 4_650,
    "report": 500,
    "experiments and figures": 13_300
    + 2_800  # the depth atlas and depth transfer, and the figures of both
    + 1_100,  # controls of every figure
    "tests": 18_100
    + 9_800  # cases that once went wrong, parts of one's own, stores, processes
    + 3_600  # practice
    + 3_800  # fuzz, injected faults, planted bugs
    + 810  # blocks of networks, tangent kernels, Jacobians
    + 700  # laws of short memory, and laws of one's own
    + 320  # moments of any function against many digits
    + 220  # blocks of one method
    + 350  # normalized and gated branches
    + 140  # random walks, the page on blocks
    + 290  # hidden widths, and blocks on the command line
    + 450  # convolutions
    + 400  # normalized streams
    + 340  # limits and flows of normalized and gated branches
    + 700  # a stand-in for a GPU, what waits for one, planted tensors of another device
    + 215  # wrong blocks and activations, each with its sentence
    + 370  # the checks of parts, and the faults that they must see
    + 1_900,  # gradients of parameters, facts of laws, controls of figures
}
ROOM = 200  # for what is too small to be argued for
TESTS_BY_LIBRARY = 1.2


def lines(*folders: str) -> int:
    inside = tuple(f"{folder}/" for folder in folders)
    return sum(len(source.splitlines()) for path, source in sources().items() if path.startswith(inside))


def sizes() -> dict[str, int]:
    own = {name: lines(f"resnet_sde/{name}") for name in ("cli", "theorems", "practice", "report")}
    return {
        "core": lines("resnet_sde") - sum(own.values()),
        **own,
        "experiments and figures": lines("experiments", "paper_figs"),
        "tests": lines("tests"),
    }


def test_no_part_outgrows_its_limit() -> None:
    found = sizes()
    assert found.keys() == LIMITS.keys()
    assert {part: n for part, n in found.items() if n > LIMITS[part] + ROOM} == {}


def test_tests_are_not_much_longer_than_what_they_test() -> None:
    found = sizes()
    tests = found.pop("tests")
    assert tests <= TESTS_BY_LIBRARY * (sum(found.values()) - found["experiments and figures"])


def test_theorems_are_short() -> None:
    """On average, with all that serves several of them; the plan asks for 55."""
    assert sizes()["theorems"] <= 65 * len(registry)


# Lines of a figure, with what it claims and with the violations that its claims must catch.
FIGURE = 180 + 70  # the plan's number; controls and what they are made of
LARGER_FIGURES = {
    "own/dense_and_deferred": "the laws of two methods and their costs",
    "own/defective_noise": "faults of a published generator, and what each does to a figure",
    "own/orders": "orders of four kinds of weights, on the path and in law",
    "own/plane_of_blocks": "six panels, with the rate at which each boundary is reached",
    "own/trajectories": "weights of every regularity, each with its limit",
}


def test_figures_are_short() -> None:
    found = {
        path.removeprefix("paper_figs/").removesuffix(".py"): len(source.splitlines())
        for path, source in sources().items()
        if path.startswith("paper_figs/") and path.count("/") == 2
    }
    assert {name for name, n in found.items() if n > FIGURE} <= LARGER_FIGURES.keys()
