//! What a connector says when it registers.

use crate::ConnectorSettings;
use qanat_transport::Registration;

/// What a connector says of itself on connection `index`, after so many attempts that failed.
pub(crate) fn registration(settings: &ConnectorSettings, index: u8, failures: u32) -> Registration {
    let mut features: Vec<String> =
        ["allow_remote_config", "serialized_headers", "support_quic_eof", "management_logs"].map(str::to_owned).into();
    features.extend(qanat_wire::names::QANAT_FEATURES.map(str::to_owned));
    for feature in &settings.features {
        if !features.contains(feature) {
            features.push(feature.clone());
        }
    }
    Registration {
        account_tag: settings.account_tag.clone(),
        secret: settings.tunnel_secret.clone(),
        tunnel_id: settings.tunnel_id,
        connection_index: index,
        connector_id: settings.connector_id,
        features,
        version: settings.version.clone(),
        arch: arch(),
        origin_local_ip: None,
        replace_existing: true,
        previous_attempts: u8::try_from(failures).unwrap_or(u8::MAX),
    }
}

/// As stock connectors name it: `linux_amd64`.
fn arch() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{}_{arch}", std::env::consts::OS)
}
