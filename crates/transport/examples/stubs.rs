//! Many connectors in one process, for bench/configuration.py: each registers and takes every pushed configuration; one line a
//! version says when it had reached them all.
//!
//! `stubs EDGE CA_FILE TOKEN_FILE quic|http2 CONNECTORS CONNECTIONS_EACH`

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use qanat_transport::{Applied, DialSettings, EdgeLink, Incoming, Protocol, Registration, connector_tls};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Dials under way at once: an edge limits handshakes.
const DIALS: usize = 64;

/// A connector token, as far as it is used here.
#[derive(serde::Deserialize)]
struct Token {
    #[serde(rename = "a")]
    account_tag: String,
    #[serde(rename = "t")]
    tunnel_id: Uuid,
    /// Base64.
    #[serde(rename = "s")]
    secret: String,
}

struct Plan {
    edge: SocketAddr,
    settings: DialSettings,
    token: Token,
    secret: Bytes,
    protocol: Protocol,
    connectors: usize,
    connections: u8,
}

fn plan() -> Result<Plan, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [edge, ca, token, protocol, connectors, connections] = &arguments[..] else {
        return Err("EDGE CA_FILE TOKEN_FILE quic|http2 CONNECTORS CONNECTIONS_EACH".into());
    };
    let token: Token = serde_json::from_slice(&STANDARD.decode(std::fs::read_to_string(token)?.trim())?)?;
    Ok(Plan {
        edge: edge.parse()?,
        settings: DialSettings {
            tls: connector_tls(Some(std::fs::read(ca)?.as_slice()))?,
            timeout: Duration::from_secs(30),
            max_head: 128 * 1024,
            flow: qanat_transport::Flow::default(),
            route: qanat_transport::Route::default(),
            rpc_timeout: Duration::from_secs(30),
            bind: None,
        },
        secret: STANDARD.decode(&token.secret)?.into(),
        token,
        protocol: if protocol == "quic" { Protocol::Quic } else { Protocol::Http2 },
        connectors: connectors.parse()?,
        connections: connections.parse()?,
    })
}

/// One connection: registers, then tells each version that it is pushed.
async fn connect(
    plan: &Plan,
    connector: Uuid,
    index: u8,
    told: mpsc::UnboundedSender<(i32, Uuid)>,
) -> Result<(), Failure> {
    let link = EdgeLink::dial(plan.protocol, plan.edge, &plan.settings).await?;
    tokio::spawn({
        let link = link.clone();
        async move {
            while let Some(incoming) = link.accept().await {
                if let Incoming::Configuration(push) = incoming {
                    let _ = told.send((push.version, connector));
                    let _ = push.answer.send(Applied { version: push.version, error: None });
                }
            }
        }
    });
    link.register(Registration {
        account_tag: plan.token.account_tag.clone(),
        secret: plan.secret.clone(),
        tunnel_id: plan.token.tunnel_id,
        connection_index: index,
        connector_id: connector,
        features: vec!["allow_remote_config".to_owned()],
        version: "stub".to_owned(),
        arch: "linux_amd64".to_owned(),
        origin_local_ip: None,
        replace_existing: false,
        previous_attempts: 0,
    })
    .await?;
    // As long as this process: the connection ends with the last copy of it.
    std::mem::forget(link);
    Ok(())
}

async fn run(plan: &'static Plan) -> Result<(), Failure> {
    let (told, mut versions) = mpsc::unbounded_channel();
    let dials: &'static Semaphore = Box::leak(Box::new(Semaphore::new(DIALS)));
    let mut connecting = Vec::new();
    for _ in 0..plan.connectors {
        let connector = Uuid::new_v4();
        for index in 0..plan.connections {
            let told = told.clone();
            connecting.push(tokio::spawn(async move {
                let _permit = dials.acquire().await?;
                connect(plan, connector, index, told).await
            }));
        }
    }
    for each in connecting {
        each.await??;
    }
    println!("registered");
    let all = plan.connectors * usize::from(plan.connections);
    let mut reached: HashMap<i32, (HashMap<Uuid, u8>, usize)> = HashMap::new();
    while let Some((version, connector)) = versions.recv().await {
        let (connectors, connections) = reached.entry(version).or_default();
        *connectors.entry(connector).or_default() += 1;
        *connections += 1;
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        if connectors.len() == plan.connectors && connectors[&connector] == 1 {
            println!("version {version} at every connector {at:.6}");
        }
        if *connections == all {
            println!("version {version} at every connection {at:.6}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let done = plan().and_then(|plan| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(run(Box::leak(Box::new(plan))))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stubs: {error}");
            ExitCode::FAILURE
        }
    }
}
