"""Fischer, Dahmen & Helias, Field theory for optimal signal propagation in ResNets."""
