"""What an operator of a node can set: `settings.toml` in its folder, and the environment.

`COMITY_NODE_PEER_ADDRESS` and the like win over the file. Limits that protect the process are
named here with their defaults, so nothing that can grow is without one.
"""

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

from comity.errors import Malformed, NotFound
from comity.rpc.caller import CallerKind

FILE = "settings.toml"

Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Address = Annotated[str, Field(pattern=r"^.*:[0-9]{1,5}$", max_length=255)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class NodeSettings(BaseSettings):
    """One node's settings. Addresses are `host:port`; port 0 lets the system choose."""

    model_config = SettingsConfigDict(env_prefix="COMITY_NODE_", extra="forbid", frozen=True)

    network: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,126}$")]
    participant: Label
    display_name: str = ""

    database_url: str = ""
    """Empty: SQLite in the node's folder. Otherwise `postgresql://…`."""

    peer_address: Address = "127.0.0.1:7701"
    public_address: Address = "127.0.0.1:7702"
    """Where the listeners listen. What others were told stands in the operator's roster."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Where Prometheus may read, on the loopback address; nowhere unless set."""

    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error|critical)$")] = "info"
    drain_seconds: Seconds = 10.0
    sweep_seconds: Seconds = 60.0
    read_threads: Count = 4
    batch_limit: Annotated[int, Field(ge=1, le=4_096)] = 1_024
    queue_limit: Count = 16_384
    max_concurrent_calls: Count = 4_096
    open_redemptions: Count = 16_384
    """Redemptions at this acceptor on their way at once; more are refused."""
    open_holds_per_member: Count = 256
    open_holds_per_acceptor: Count = 100_000
    """Undecided redemptions of a member's points, and of this issuer's points at one acceptor."""
    calls_per_second: dict[CallerKind, Count] = {}
    """Calls a second for each kind of caller, where not the default: `{member = 50}`."""
    failures_at_once: Count = 1_000
    """Calls from one address whose credentials may not hold, before it is refused unread."""
    failures_per_second: Count = 100
    """How many of them are forgiven each second."""

    call_seconds: Seconds = 10.0
    """How long a call to another organisation may take."""
    redeem_wait_seconds: Seconds = 8.0
    """How long a member waits for the outcome of a redemption before it is `pending`."""
    follow_wait_seconds: Annotated[float, Field(gt=0, le=20)] = 10.0
    """How long clearing is asked to wait for news before it answers that there are none."""
    idle_pulse_seconds: Seconds = 2.0
    """How long an idle node is silent before it asks clearing which heads of its log lack a link;
    well below clearing's `link_within_seconds`."""

    @property
    def origin(self) -> str:
        """The name of this node's log."""
        return f"{self.network}/{self.participant}"

    def url(self, folder: Path) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{folder / 'node.db'}"


def load_settings(folder: Path) -> NodeSettings:
    """The settings of the node in `folder`.

    Raises NotFound without a file, Malformed with one sentence for each mistake.
    """
    file = folder / FILE
    if not file.is_file():
        raise NotFound(f"There is no node in {folder}; create one with `comity node init`.")

    class FromFolder(NodeSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, TomlConfigSettingsSource(settings_cls, file)

    try:
        return FromFolder()  # type: ignore[call-arg]  # the file and the environment give them
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"{file} is not TOML: {error}.") from error
    except ValidationError as error:
        found = [
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}."
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise Malformed(f"{file} or the environment: {' '.join(found)}") from error
