"""``rekindle metrics``: what Prometheus would see, on the terminal."""

from __future__ import annotations

import click


@click.command()
def metrics() -> None:
    """Print the metrics of the instance that is up, in Prometheus text format.

    `rekindle up --metrics 127.0.0.1:9464` serves the same over HTTP.

    \b
    rekindle metrics | grep rekindle_starts_total
    """
    from rekindle.cli import operator

    client = operator.connect()
    click.echo(operator.ask(client.metrics()), nl=False)
