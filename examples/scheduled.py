"""A function that runs by itself: every minute, and each morning in Berlin.

rekindle deploy examples/scheduled.py
rekindle schedule ls
rekindle schedule run watch.free_space
rekindle app logs watch
"""

import shutil

import rekindle

app = rekindle.App("watch")


@app.function(schedule=rekindle.Period(minutes=1))
def free_space(path: str = "/") -> float:
    usage = shutil.disk_usage(path)
    share = usage.free / usage.total
    print(f"{path} has {share:.0%} free")
    return share


@app.function(schedule=rekindle.Cron("0 9 * * 1-5", timezone="Europe/Berlin"), retries=2)
def morning_report() -> str:
    line = f"good morning: {free_space.local():.0%} are free"
    print(line)
    return line
