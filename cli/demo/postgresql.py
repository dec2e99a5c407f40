"""A PostgreSQL database for each organisation of a demonstration, on a server that is there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from comity.errors import Malformed, Unavailable

if TYPE_CHECKING:
    from cli.demo.network import DatabaseUrl


@contextmanager
def databases(server: str, *, stay: bool) -> Iterator[DatabaseUrl]:
    """Makes a database for whoever asks for its URL; drops them at the end unless they `stay`.

    Raises Malformed for no URL of a server, Unavailable if no database can be made there.
    """
    try:
        url = make_url(server)
    except ArgumentError as error:
        raise Malformed("Name the server as postgresql://user@host:port/postgres.") from error
    if url.get_backend_name() != "postgresql":
        raise Malformed(f"{url.get_backend_name()} is no PostgreSQL server.")
    run, made = secrets.token_hex(3), dict[str, str]()

    def url_of(organisation: str) -> str:
        if organisation not in made:
            name = f"comity_demo_{run}_{organisation}"
            _run(url, SQL("CREATE DATABASE {}").format(Identifier(name)))
            made[organisation] = name
        return _text(url.set(database=made[organisation]))

    try:
        yield url_of
    finally:
        for name in () if stay else made.values():
            _run(url, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _run(url: URL, statement: psycopg.sql.Composed) -> None:
    try:
        with psycopg.connect(_text(url), autocommit=True) as connection:
            connection.execute(statement)
    except psycopg.Error as error:
        raise Unavailable(
            f"The server {url.host or 'on this machine'} makes no database: {error}. "
            "Name a server that runs, and a user who may create databases."
        ) from error


def _text(url: URL) -> str:
    """As both psycopg and a node's settings read it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
