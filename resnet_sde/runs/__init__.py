"""How work is done and kept, whatever the work is: it knows nothing of networks."""
