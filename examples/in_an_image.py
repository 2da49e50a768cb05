"""Dates of the moon by a package that neither the program nor its node has.

    rekindle run examples/in_an_image.py --year 2027

The first run builds the image: a Debian with Python 3.13 and the package `ephem`. Later runs find
its layers by their names.
"""

import rekindle

image = rekindle.Image.debian_slim("3.13").pip_install("ephem==4.2")
app = rekindle.App("moons", image=image)

with image.imports():
    import ephem


@app.function()
def full_moons(year: int) -> list[str]:
    """The days of a year with a full moon."""
    found = []
    when = ephem.next_full_moon(f"{year}/1/1")
    while when.datetime().year == year:
        found.append(when.datetime().strftime("%d %B"))
        when = ephem.next_full_moon(when)
    return found


@app.local_entrypoint()
def main(year: int = 2027):
    """Print them."""
    for day in full_moons.remote(year):
        print(day)
