"""How a runner comes to be: boot, fork, restore, and the snapshots and templates they need."""
