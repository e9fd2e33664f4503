//! What the handlers share: the data plane, the control plane, and what the front end is.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use skysail_control::Control;
use skysail_engine::Engine;

use crate::access::Access;
use crate::query_ids::QueryIds;
use crate::readiness::Readiness;

/// A running front end, as its handlers see it.
#[derive(Debug)]
pub struct Frontend {
    /// The data plane.
    pub engine: Engine,
    /// The control plane.
    pub control: Arc<Control>,
    /// Numbers of queries.
    pub query_ids: QueryIds,
    /// Whether it wants new clients.
    pub readiness: Readiness,
    /// Where it listens and what it is.
    pub about: About,
    /// Who is let in at its ports.
    pub access: Access,
    /// Where the logs of deployed replicas are.
    pub log_dir: std::path::PathBuf,
    /// Largest JSON body of a query.
    pub body_bytes_max: usize,
    /// Largest body of a query with binary tensors, and of a gRPC message.
    pub binary_bytes_max: usize,
    /// Names of shared memory objects that clients may have their tensors in; see
    /// [`crate::query::v2`].
    pub client_shm: Vec<String>,
}

/// Where a front end listens and what it is.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// Its process.
    pub pid: u32,
    /// Where queries go.
    pub query: SocketAddr,
    /// Where it is managed.
    pub management: SocketAddr,
    /// Where containers connect.
    pub rpc: Vec<String>,
    /// Its version.
    pub version: String,
    /// `loopback`: only this machine may connect; `token`: whoever has a token may; `none`: anybody
    /// may, by the operator's word.
    pub auth: &'static str,
    /// Whether the ports speak TLS.
    pub tls: bool,
}
