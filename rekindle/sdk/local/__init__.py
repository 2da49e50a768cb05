"""An instance on this machine: the supervisor that keeps it up, and sessions that use one."""
