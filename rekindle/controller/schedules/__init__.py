"""Functions of deployed apps that run by themselves, at their times.

``scheduler`` claims due times and submits their calls, ``records`` are what is known of each
schedule, ``report`` shows it to people. When a time is due says wire/schedules; versions are
deployments'. Begin with ``scheduler``.
"""
