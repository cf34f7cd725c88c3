"""Yang & Schoenholz, Mean Field Residual Networks."""
