//! Connector tokens and credentials files: who a connector is and the secret that proves it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A connector's identity. `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 32 hex digits.
    pub account_tag: String,
    /// The tunnel.
    pub tunnel_id: Uuid,
    /// Raw bytes.
    pub secret: Vec<u8>,
    /// The region or address that the issuer wants used.
    pub endpoint: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("account_tag", &self.account_tag)
            .field("tunnel_id", &self.tunnel_id)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Why a token or a credentials file can't be used. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The token is not base64.
    #[error("the token is not base64: copy it whole, without spaces")]
    NotBase64,
    /// What it holds is not the JSON object of a token or of a credentials file.
    #[error("no account, tunnel id and secret are in it")]
    NotCredentials,
    /// The secret is not base64 or is empty.
    #[error("the tunnel secret is not base64")]
    Secret,
}

#[derive(Serialize, Deserialize)]
struct TokenForm {
    a: String,
    t: Uuid,
    s: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct FileForm {
    #[serde(rename = "AccountTag")]
    account_tag: String,
    #[serde(rename = "TunnelSecret")]
    secret: String,
    #[serde(rename = "TunnelID")]
    tunnel_id: Uuid,
    #[serde(rename = "Endpoint", default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
}

impl Credentials {
    /// Reads a connector token: base64 of `{"a","t","s"[,"e"]}`. White space around it is ignored.
    pub fn from_token(token: &str) -> Result<Self, CredentialsError> {
        let json = STANDARD.decode(token.trim()).map_err(|_| CredentialsError::NotBase64)?;
        let form: TokenForm = serde_json::from_slice(&json).map_err(|_| CredentialsError::NotCredentials)?;
        Self::checked(form.a, form.t, &form.s, form.e)
    }

    /// Writes a connector token.
    pub fn to_token(&self) -> String {
        let form = TokenForm {
            a: self.account_tag.clone(),
            t: self.tunnel_id,
            s: STANDARD.encode(&self.secret),
            e: self.endpoint.clone(),
        };
        STANDARD.encode(serde_json::to_vec(&form).unwrap_or_default())
    }

    /// Reads the JSON of a credentials file.
    pub fn from_file(json: &[u8]) -> Result<Self, CredentialsError> {
        let form: FileForm = serde_json::from_slice(json).map_err(|_| CredentialsError::NotCredentials)?;
        Self::checked(form.account_tag, form.tunnel_id, &form.secret, form.endpoint)
    }

    /// Writes the JSON of a credentials file.
    pub fn to_file(&self) -> Vec<u8> {
        let form = FileForm {
            account_tag: self.account_tag.clone(),
            secret: STANDARD.encode(&self.secret),
            tunnel_id: self.tunnel_id,
            endpoint: self.endpoint.clone(),
        };
        serde_json::to_vec(&form).unwrap_or_default()
    }

    fn checked(
        account_tag: String,
        tunnel_id: Uuid,
        secret: &str,
        endpoint: Option<String>,
    ) -> Result<Self, CredentialsError> {
        let secret = STANDARD.decode(secret).map_err(|_| CredentialsError::Secret)?;
        if secret.is_empty() {
            return Err(CredentialsError::Secret);
        }
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
        Ok(Self { account_tag, tunnel_id, secret, endpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Credentials {
        Credentials {
            account_tag: "0123456789abcdef0123456789abcdef".into(),
            tunnel_id: Uuid::from_u128(0x11111111_2222_3333_4444_555555555555),
            secret: (0..32).collect(),
            endpoint: None,
        }
    }

    #[test]
    fn token_and_file_are_read_back() {
        let wanted = sample();
        assert_eq!(Credentials::from_token(&format!(" {}\n", wanted.to_token())), Ok(wanted.clone()));
        assert_eq!(Credentials::from_file(&wanted.to_file()), Ok(wanted.clone()));
        assert!(!format!("{wanted:?}").contains("secret"));
    }

    #[test]
    fn errors_say_what_is_wrong_and_never_quote() {
        assert_eq!(Credentials::from_token("not base64"), Err(CredentialsError::NotBase64));
        assert_eq!(Credentials::from_token("e30="), Err(CredentialsError::NotCredentials));
        let json = br#"{"AccountTag":"a","TunnelSecret":"!","TunnelID":"11111111-2222-3333-4444-555555555555"}"#;
        assert_eq!(Credentials::from_file(json), Err(CredentialsError::Secret));
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Credentials::from_token(&text), Credentials::from_file(&bytes));
            let _ = Credentials::from_token(&STANDARD.encode(&bytes));
        }
    }
}
