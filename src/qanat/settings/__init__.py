"""The edge's settings: by flag, else `QANAT_…` in the environment, else TOML file, else default. Frozen once read."""

import os

# Before its first model pydantic looks for plugins in all that is installed; there are none of ours.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from qanat.settings.certificates import AcmeSettings, CertificateFiles, ExternalAccount, TlsSettings
from qanat.settings.edge import EdgeSettings, Setting, every_setting
from qanat.settings.limits import AccountLimitSettings, EngineSettings, LimitSettings
from qanat.settings.listeners import (
    ControlSettings,
    DnsSettings,
    PublicSettings,
    QuickTunnelSettings,
    TunnelSettings,
)
from qanat.settings.loading import load_edge_settings
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

__all__ = [
    "AccessLogSettings",
    "AccountLimitSettings",
    "AcmeSettings",
    "AlertSettings",
    "CertificateFiles",
    "ControlSettings",
    "DnsSettings",
    "EdgeSettings",
    "EngineSettings",
    "ExternalAccount",
    "LimitSettings",
    "LogSettings",
    "MetricsSettings",
    "ProbeSettings",
    "PublicSettings",
    "QuickTunnelSettings",
    "SeriesSettings",
    "Setting",
    "StoreSettings",
    "TlsSettings",
    "TracingSettings",
    "TunnelSettings",
    "every_setting",
    "load_edge_settings",
]
