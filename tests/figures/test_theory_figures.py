"""What the figures of wide networks take for known."""

import pytest

from paper_figs.schoenholz import gradients as schoenholz_gradients
from resnet_sde import TANH
from resnet_sde.meanfield.critical import critical_line


def test_the_critical_variance_that_is_written_down_is_right() -> None:
    assert schoenholz_gradients.CRITICAL == pytest.approx(float(critical_line(TANH, 0.05)), rel=1e-11)
