"""Marion, Fermanian, Biau & Vert, Scaling ResNets in the Large-depth Regime."""
