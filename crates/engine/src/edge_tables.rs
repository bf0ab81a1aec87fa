//! The edge's tables as Python makes them: routes, tunnels, certificates.

use crate::convert::uuid;
use crate::error::{bad_setting, refused};
use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// One public hostname and the tunnels that answer for it; or a name that no wildcard answers for.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Route(pub(crate) qanat_edge::Route);

#[pymethods]
impl Route {
    #[new]
    #[pyo3(signature = (*, hostname, targets, sticky))]
    fn new(hostname: String, targets: Vec<(String, u32)>, sticky: &str) -> PyResult<Self> {
        let read = |(id, weight): (String, u32)| Ok((uuid("targets", &id)?, weight));
        let targets = targets.into_iter().map(read).collect::<PyResult<_>>()?;
        let sticky = match sticky {
            "none" => qanat_edge::Sticky::None,
            "address" => qanat_edge::Sticky::Address,
            "cookie" => qanat_edge::Sticky::Cookie,
            other => {
                let reason = format!("{other:?} is not valid: use none, address or cookie");
                return Err(bad_setting("sticky", reason));
            }
        };
        Ok(Self(qanat_edge::Route { hostname, targets, sticky }))
    }

    #[getter]
    fn hostname(&self) -> &str {
        &self.0.hostname
    }

    #[getter]
    fn targets(&self) -> Vec<(String, u32)> {
        self.0.targets.iter().map(|(id, weight)| (id.to_string(), *weight)).collect()
    }

    #[getter]
    fn sticky(&self) -> &'static str {
        match self.0.sticky {
            qanat_edge::Sticky::None => "none",
            qanat_edge::Sticky::Address => "address",
            qanat_edge::Sticky::Cookie => "cookie",
        }
    }

    fn __repr__(&self) -> String {
        let targets: Vec<_> = self.0.targets.iter().map(|(id, weight)| format!("('{id}', {weight})")).collect();
        let (hostname, targets, sticky) = (&self.0.hostname, targets.join(", "), self.sticky());
        format!("Route(hostname={hostname:?}, targets=[{targets}], sticky='{sticky}')")
    }
}

/// A tunnel as the edge must know it.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Tunnel(pub(crate) qanat_edge::TunnelEntry);

#[pymethods]
impl Tunnel {
    #[new]
    #[pyo3(signature = (
        *, tunnel_id, account_tag, name, secrets, deleted, remotely_managed, configuration_version, configuration,
        active_token_id, epoch, fenced_token_ids
    ))]
    #[allow(clippy::too_many_arguments)] // keyword-only on the Python side
    fn new(
        tunnel_id: &str,
        account_tag: String,
        name: String,
        secrets: Vec<(String, PyBackedBytes)>,
        deleted: bool,
        remotely_managed: bool,
        configuration_version: i32,
        configuration: Option<&[u8]>,
        active_token_id: Option<String>,
        epoch: u64,
        fenced_token_ids: Vec<String>,
    ) -> PyResult<Self> {
        let secret = |(token_id, sha256): (String, PyBackedBytes)| match sha256.as_ref().try_into() {
            Ok(sha256) => Ok(qanat_edge::TunnelSecret { token_id, sha256 }),
            Err(_) => Err(bad_setting("secrets", format!("{} bytes, not 32", sha256.len()))),
        };
        let secrets = secrets.into_iter().map(secret).collect::<PyResult<_>>()?;
        Ok(Self(qanat_edge::TunnelEntry {
            tunnel_id: uuid("tunnel_id", tunnel_id)?,
            account_tag,
            name,
            secrets,
            deleted,
            remotely_managed,
            configuration_version,
            configuration: configuration.map(Bytes::copy_from_slice),
            active_token_id,
            epoch,
            fenced_token_ids,
        }))
    }

    #[getter]
    fn tunnel_id(&self) -> String {
        self.0.tunnel_id.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Tunnel(tunnel_id='{}', name={:?})", self.0.tunnel_id, self.0.name)
    }
}

/// A public certificate with its key.
#[pyclass(frozen, module = "qanat._engine")]
pub(crate) struct Certificate(pub(crate) qanat_edge::Certificate);

#[pymethods]
impl Certificate {
    #[new]
    #[pyo3(signature = (*, chain_pem, key_pem, hostnames=None))]
    fn new(chain_pem: &[u8], key_pem: &[u8], hostnames: Option<Vec<String>>) -> PyResult<Self> {
        let read = qanat_edge::Certificate::from_pem(chain_pem, key_pem).map_err(edge_error)?;
        Ok(Self(hostnames.map_or_else(|| read.clone(), |names| read.only_for(&names))))
    }

    #[getter]
    fn hostnames(&self) -> Vec<String> {
        self.0.hostnames().to_vec()
    }

    fn __repr__(&self) -> String {
        format!("Certificate(hostnames={:?})", self.0.hostnames())
    }
}

/// The DNS names of the leaf, lower case.
#[pyfunction]
pub(crate) fn inspect_certificate(chain_pem: &[u8], key_pem: &[u8]) -> PyResult<Vec<String>> {
    Ok(Certificate::new(chain_pem, key_pem, None)?.hostnames())
}

pub(crate) fn edge_error(error: qanat_edge::EdgeError) -> PyErr {
    refused(error.code(), error.to_string())
}
