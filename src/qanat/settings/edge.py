"""All of them together, and each by itself for `--help` and the reference page."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from qanat.defaults import default_data_dir
from qanat.settings.certificates import AcmeSettings, TlsSettings
from qanat.settings.limits import AccountLimitSettings, EngineSettings, LimitSettings
from qanat.settings.listeners import ControlSettings, DnsSettings, PublicSettings, TunnelSettings
from qanat.settings.observing import (
    AccessLogSettings,
    AlertSettings,
    LogSettings,
    MetricsSettings,
    ProbeSettings,
    SeriesSettings,
    TracingSettings,
)
from qanat.settings.store import StoreSettings
from qanat.settings.values import Part

ENV_PREFIX = "QANAT_"
ENV_NESTING = "__"


class EdgeSettings(BaseSettings):
    """Everything that `qanat edge` can be told."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_NESTING,
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(
        default_factory=default_data_dir, description="Directory of the database, keys and certificates."
    )
    location: str = Field(
        default="local",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name of this edge node, as connectors and the API show it.",
    )
    grace_period_s: float = Field(
        default=30.0, ge=0, description="Seconds that open requests get to finish when the edge is stopped."
    )
    drain_timeout_s: float = Field(
        default=300.0,
        ge=0,
        description="Seconds that open requests and WebSockets get to finish in the old process when a new one has taken over "
        "(`qanat edge upgrade`): nobody waits for it.",
    )
    stop_notice_s: float = Field(
        default=0.5,
        ge=0,
        description="Seconds for which an edge that is stopped still takes requests, and tells every client that its connection "
        "closes; at most grace_period_s.",
    )
    public: PublicSettings = PublicSettings()
    tunnel: TunnelSettings = TunnelSettings()
    control: ControlSettings = ControlSettings()
    dns: DnsSettings = DnsSettings()
    tls: TlsSettings = TlsSettings()
    acme: AcmeSettings = AcmeSettings()
    limits: LimitSettings = LimitSettings()
    account_limits: AccountLimitSettings = AccountLimitSettings()
    engine: EngineSettings = EngineSettings()
    store: StoreSettings = StoreSettings()
    probes: ProbeSettings = ProbeSettings()
    metrics: MetricsSettings = MetricsSettings()
    series: SeriesSettings = SeriesSettings()
    alerts: AlertSettings = AlertSettings()
    access_log: AccessLogSettings = AccessLogSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file. The file's values come in under the key `_file`."""
        given: dict[str, Any] = dict(init_settings.init_kwargs) if isinstance(init_settings, InitSettingsSource) else {}
        from_file = given.pop("_file_values", {})
        return InitSettingsSource(settings_cls, given), env_settings, InitSettingsSource(settings_cls, from_file)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, for `--help` and the reference page."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def key(self) -> str:
        """As in the file: `public.https`."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """As on the command line: `--public-https`."""
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def variable(self) -> str:
        """As in the environment: `QANAT_PUBLIC__HTTPS`."""
        return ENV_PREFIX + ENV_NESTING.join(self.path).upper()

    @property
    def description(self) -> str:
        """What it does."""
        return self.field.description or ""


def every_setting(model: type[BaseModel] = EdgeSettings, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """All settings, in the order of the models."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Part):
            yield from every_setting(annotation, (*path, name))
        else:
            yield Setting((*path, name), field)
