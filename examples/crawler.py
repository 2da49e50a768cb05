"""A crawler: a Queue of pages to visit, a Dict of what was found, and runners that share both.

rekindle run examples/crawler.py
rekindle run examples/crawler.py --workers 4 --pages 200

The web is made up: each page links to some others. Each page is visited once, whichever runner
finds it first.
"""

import hashlib

import rekindle

app = rekindle.App("crawler")


def links_of(page: int, pages: int) -> list[int]:
    """What a page of the made-up web links to."""
    digest = hashlib.sha256(str(page).encode()).digest()
    return [(page + 1) % pages, *(int.from_bytes(digest[i : i + 2]) % pages for i in (0, 2, 4))]


@app.function(max_containers=8)
def crawl(to_visit: rekindle.Queue, found: rekindle.Dict, pages: int) -> int:
    """Visit pages until there are no more; how many it were."""
    visited = 0
    while (page := to_visit.get()) is not None:
        links = links_of(page, pages)
        # Of the runners that find a page at the same time, one is told that it put it.
        new = [link for link in links if found.put(link, page, skip_if_exists=True)]
        to_visit.put_many(new)
        visited += 1
        if found.len() == pages and to_visit.len() == 0:
            break
    to_visit.put(None)  # for the next runner that waits
    return visited


@app.local_entrypoint()
def main(workers: int = 2, pages: int = 60) -> None:
    with rekindle.Queue.ephemeral() as to_visit, rekindle.Dict.ephemeral() as found:
        found[0] = None
        to_visit.put(0)
        counts = crawl.starmap([(to_visit, found, pages)] * workers)
        print(f"{sum(counts)} pages visited by {workers} runners")
        print(f"page {pages - 1} was found on page {found[pages - 1]}")
        print(f"{found.len()} pages are known")
