"""What the scripts in ``bench/`` share: options, progress, interleaving, a trace of their own."""
