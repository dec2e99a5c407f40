"""Migrations lead to the schema the code declares, and the schema keeps the house rules."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Column, Engine, MetaData, Table, Text, UniqueConstraint

import clearing
import node
from comity.ledger import schema
from comity.ledger.engine import writer
from comity.ledger.migrate import create_or_upgrade, describe, ledger_first, newest, revise
from tests.store.toy import World, metadata

ENVIRONMENT = "from comity.ledger import migrate\n\nmigrate.run()\n"
TEMPLATE = '''"""${message}"""

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
'''


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "script.py.mako").write_text(TEMPLATE)
    return folder


def described(engine: Engine) -> object:
    with engine.connect() as connection:
        return describe(connection)


def test_create_all_equals_the_migrations(engine: Engine, scripts: Path) -> None:
    revise(engine, metadata, scripts, "first")
    create_or_upgrade(engine, metadata, scripts)
    create_or_upgrade(engine, metadata, scripts)
    migrated = described(engine)
    with writer(engine).begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert described(engine) == migrated


def test_a_missing_check_is_noticed(engine: Engine) -> None:
    with writer(engine).begin() as connection:
        metadata.create_all(connection)
    whole = described(engine)
    other = schema.service_metadata()
    schema.ledger_table(
        other,
        "accounts",
        schema.key("account"),
        schema.field("owner"),
        schema.field("points", schema.BigInt),
    )
    with writer(engine).begin() as connection:
        metadata.drop_all(connection)
        other.create_all(connection)
    assert described(engine) != whole


def test_a_migrated_database_serves(engine: Engine, scripts: Path, tmp_path: Path) -> None:
    revise(engine, metadata, scripts, "first")
    create_or_upgrade(engine, metadata, scripts)
    world = World(engine, tmp_path)
    world.init()
    world.start()


def test_a_database_at_the_newest_revision_needs_no_migrations(
    engine: Engine, scripts: Path
) -> None:
    revise(engine, metadata, scripts, "first")
    create_or_upgrade(engine, metadata, scripts)
    environment = scripts / "env.py"
    environment.write_text("raise AssertionError('migrations ran')\n")
    create_or_upgrade(engine, metadata, scripts)
    # A later release has one more, which must run.
    first = newest(scripts)
    later = f"revision = 'later'\ndown_revision = {first!r}\n\ndef upgrade() -> None:\n    pass\n"
    (scripts / "versions" / "later.py").write_text(later)
    assert newest(scripts) == "later"
    with pytest.raises(AssertionError, match="migrations ran"):
        create_or_upgrade(engine, metadata, scripts)
    environment.write_text(ENVIRONMENT)
    create_or_upgrade(engine, metadata, scripts)
    environment.unlink()
    create_or_upgrade(engine, metadata, scripts)


@pytest.mark.parametrize("service", [node, clearing])
def test_a_start_knows_the_newest_revision_as_alembic_does(service: ModuleType) -> None:
    folder = Path(service.__path__[0]) / "migrations"
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [newest(folder)]


def test_two_newest_revisions_are_a_mistake(scripts: Path) -> None:
    for name in ("one", "two"):
        (scripts / "versions" / f"{name}.py").write_text(f"revision = {name!r}\n")
    with pytest.raises(ValueError, match=r"one.*two"):
        newest(scripts)


def test_the_kernel_keeps_the_house_rules() -> None:
    assert ledger_first(schema.metadata) == []
    assert ledger_first(metadata) == []


def test_a_table_that_breaks_the_house_rules_is_named() -> None:
    wrong = MetaData(naming_convention=schema.NAMING)
    Table(
        "members",
        wrong,
        Column("member", Text, primary_key=True),
        Column("ledger", Text, primary_key=True),
        Column("email", Text, CheckConstraint("email <> ''", name="email"), index=True),
        UniqueConstraint("email"),
    )
    found = ledger_first(wrong)
    assert len(found) == 4
    assert all("members" in sentence for sentence in found)
