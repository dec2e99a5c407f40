"""Clearing's settings: `settings.toml` in its folder, each overridable by `COMITY_CLEARING_…`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from clearing.rules import Rules
from comity.clock import SECOND
from comity.errors import Malformed, NotFound
from comity.rpc.caller import CallerKind
from comity.rpc.limits import Rates

FILE = "settings.toml"


class Settings(BaseSettings):
    """Everything the process reads from outside. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="COMITY_CLEARING_", extra="forbid")

    network: str = Field(min_length=1, max_length=128)
    peer_address: str
    """Where brands and operators call, host:port."""
    public_address: str
    """Where anyone checks the log, host:port."""
    advertised_peer_address: str = ""
    """What brands are told instead of `peer_address`, where that is not reachable as it stands."""
    advertised_public_address: str = ""
    database_url: str = ""
    """Empty: `clearing.db` in the folder."""
    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """0: no metrics are served."""
    log_level: str = "info"
    skew_seconds: int = Field(default=5, ge=1, le=300)
    link_within_seconds: int = Field(default=5, ge=1, le=3_600)
    report_grace_seconds: int = Field(default=60, ge=0, le=86_400)
    acknowledge_within_seconds: int = Field(default=172_800, ge=1)
    calls_per_second: dict[CallerKind, Annotated[int, Field(ge=1)]] = {}
    """Calls a second for each kind of caller, where not the default: `{brand = 2000}`."""
    failures_at_once: int = Field(default=1_000, ge=1)
    """Calls from one address whose credentials may not hold, before it is refused unread."""
    failures_per_second: int = Field(default=100, ge=1)
    """How many of them are forgiven each second."""

    @property
    def rules(self) -> Rules:
        return Rules(
            skew_us=self.skew_seconds * SECOND,
            link_within_us=self.link_within_seconds * SECOND,
            report_grace_us=self.report_grace_seconds * SECOND,
            acknowledge_within_us=self.acknowledge_within_seconds * SECOND,
        )

    @property
    def rates(self) -> Rates:
        return Rates(
            calls_per_second=self.calls_per_second,
            failures_per_second=self.failures_per_second,
            failures_at_once=self.failures_at_once,
        )

    def url(self, folder: Path) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{folder / 'clearing.db'}"


def read(folder: Path) -> Settings:
    """The settings in a clearing folder. Raises NotFound without any, Malformed for wrong ones."""
    path = folder / FILE
    if not path.is_file():
        raise NotFound(
            f"{folder} is no clearing folder: it has no {FILE}. Create one with "
            "`comity clearing init`, or name the right folder."
        )

    class FromFolder(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path))

    try:
        return FromFolder()  # type: ignore[call-arg]
    except ValidationError as error:
        wrong = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
        raise Malformed(f"The settings in {path} are wrong: {wrong}.") from None
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"{path} is not TOML: {error}.") from None
