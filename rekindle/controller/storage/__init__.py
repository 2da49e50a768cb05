"""Redis: the connection, the server of an instance, and what is kept there of apps and inputs.

``redis_link`` sends commands and scripts (lua/). Each ``*_store`` keeps one kind of thing: queues
with results, calls, dead letters, log lines, deployments, their versions, schedules, agents;
``registry`` apps. Who uses them sees plain data (records.py); of what cannot be read ``damage``
knows. Pools, objects and names keep what is theirs alone by ``redis_link`` themselves. Begin with
``queue_store``.
"""
