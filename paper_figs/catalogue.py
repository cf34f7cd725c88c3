"""The figures by name, in the order of the gallery."""

from __future__ import annotations

MARION = ("fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "fig7")
VARIANTS = ("leaky", "correlated")  # of figures 1 and 3
THEORY = (  # of wide networks
    "poole_correlations",
    "poole_lengths",
    "schoenholz_dropout",
    "schoenholz_gradients",
    "schoenholz_phases",
    "schoenholz_scales",
)
RESIDUAL = (  # of deep residual networks of large width
    "yang_alpha",
    "yang_cosines",
    "yang_gradients",
    "yang_growth",
    "yang_lengths",
    "yang_limit",
    "yang_relu",
    "yang_variances",
)
FINITE = (  # of finite width, and of the residual scale
    "fischer_exponents",
    "fischer_fluctuations",
    "fischer_kernels",
    "fischer_optimum",
    "fischer_pairs",
    "fischer_posterior",
    "fischer_regression",
    "fischer_response",
    "fischer_separation",
)
OWN = (  # of no paper
    "plane_of_blocks",
    "trajectories",
    "orders",
    "dense_and_deferred",
    "plane_of_laws",
    "defective_noise",
    "depth_check",
)
MARION_TRAINED = ("fig8", "fig8_fashion", "fig9", "fig9_fashion", "depth_weights")
SCHOENHOLZ_TRAINED = (
    "schoenholz_trainability",
    "schoenholz_trainability_dropout",
    "schoenholz_trainability_optimizers",
)
YANG_TRAINED = ("yang_trained", "yang_trained_relu")
FISCHER_TRAINED = ("fischer_trained",)
OWN_TRAINED = ("depth_transfer",)
TRAINED = (*MARION_TRAINED, *SCHOENHOLZ_TRAINED, *YANG_TRAINED, *FISCHER_TRAINED, *OWN_TRAINED)

SECTIONS = {
    "Marion, Fermanian, Biau & Vert, Scaling ResNets in the Large-depth Regime": (
        *MARION,
        *MARION_TRAINED,
        *VARIANTS,
    ),
    "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein, Deep Information Propagation, and Poole et al.": (
        *THEORY,
        *SCHOENHOLZ_TRAINED,
    ),
    "Yang & Schoenholz, Mean Field Residual Networks": (*RESIDUAL, *YANG_TRAINED),
    "Fischer, Dahmen & Helias, Field theory for optimal signal propagation in ResNets": (
        *FINITE,
        *FISCHER_TRAINED,
    ),
    "Beside the papers": (*OWN, *OWN_TRAINED),
}
PICTURES = tuple(name for names in SECTIONS.values() for name in names)
