//! iceoryx2's request-response, both sides spinning.
//!
//! The payload is written into a loaned slice, and added up where the server finds it.

#![allow(
    unsafe_code,
    reason = "a loaned slice that was written in pieces is declared so"
)]

use std::collections::VecDeque;
use std::future::{Future, ready};

use anyhow::{Context, Result, ensure};
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::prelude::{
    Alignment, Config, FileName, Node, NodeBuilder, SemanticString, SignalHandlingMode, ipc,
};
use iceoryx2::service::port_factory::request_response::PortFactory;

use crate::harness::{Answer, Exchange, OnThread, Path, WINDOW, spin};
use crate::payload::{ANSWER_BYTES, BYTES_MAX, Source, stamp, sum};
use crate::peer::{Peer, say_ready, serve_bursts};
use crate::probe::Cores;

/// A request of this length is none: the peer rests until the next burst.
const REST_BYTES: usize = 1;
/// Where iceoryx2's shared memory appears.
const SHARED_MEMORY: &str = "/dev/shm";

type Pending = PendingResponse<ipc::Service, [u8], (), [u8; ANSWER_BYTES], ()>;

/// Where this bench's iceoryx2 files are, away from anybody else's.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PeerArgs {
    folder: String,
    prefix: String,
}

/// What keeps the service open, in either process.
struct Service {
    factory: PortFactory<ipc::Service, [u8], (), [u8; ANSWER_BYTES], ()>,
    _node: Node<ipc::Service>,
}

impl PeerArgs {
    fn open(&self) -> Result<Service> {
        let mut config = Config::default();
        let root = iceoryx2::prelude::Path::new(self.folder.as_bytes());
        config.global.set_root_path(&root.map_err(wrong)?);
        config.global.prefix = FileName::new(self.prefix.as_bytes()).map_err(wrong)?;
        let node = NodeBuilder::new()
            .config(&config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()
            .map_err(wrong)?;
        let factory = node
            .service_builder(&"bench".try_into().map_err(wrong)?)
            .request_response::<[u8], [u8; ANSWER_BYTES]>()
            .request_payload_alignment(Alignment::new(64).context("a power of two")?)
            .max_active_requests_per_client(WINDOW)
            .max_loaned_requests(1)
            .max_clients(1)
            .max_servers(1)
            .open_or_create()
            .map_err(wrong)?;
        Ok(Service {
            factory,
            _node: node,
        })
    }
}

fn wrong(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow::anyhow!("iceoryx2: {error:?}")
}

/// A client whose server is another process, with files in `folder`.
///
/// # Errors
/// If iceoryx2 cannot be set up.
pub(crate) fn open(cores: Cores, folder: &std::path::Path) -> Result<Box<dyn Path>> {
    let folder = folder.join("iceoryx2");
    std::fs::create_dir(&folder)?;
    let folder = folder.to_str().context("a folder with a plain name")?;
    let prefix = format!("skysail_bench_{}_", std::process::id());
    let shared = PeerArgs {
        folder: folder.to_owned(),
        prefix: prefix.clone(),
    };
    let files = Files(prefix.clone());
    let peer = Peer::start(cores, &["iceoryx", folder, &prefix], &[])?.ready()?;
    let service = shared.open()?;
    let client = service.factory.client_builder();
    let client = client.initial_max_slice_len(BYTES_MAX).create();
    Ok(Box::new(OnThread(Requester {
        pending: VecDeque::new(),
        client: client.map_err(wrong)?,
        _service: service,
        peer,
        _files: files,
    })))
}

/// Shared memory that iceoryx2 would leave behind if a side did not end in order.
struct Files(String);

impl Drop for Files {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(SHARED_MEMORY) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.0) {
                // It may be gone already.
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }
}

struct Requester {
    pending: VecDeque<(u64, Pending)>,
    client: Client<ipc::Service, [u8], (), [u8; ANSWER_BYTES], ()>,
    _service: Service,
    peer: Peer,
    _files: Files,
}

impl Requester {
    fn take(&mut self) -> Result<Answer> {
        let (ticket, pending) = self.pending.front().context("nothing was asked")?;
        let response = spin(|| pending.receive().transpose())?.map_err(wrong)?;
        let ticket = *ticket;
        let sum = response.payload().first_chunk().copied();
        drop(response);
        self.pending.pop_front();
        Ok(Answer {
            ticket,
            sum: Some(f32::from_le_bytes(sum.context("an empty answer")?)),
        })
    }
}

impl Exchange for Requester {
    fn begin(&mut self) -> Result<()> {
        self.peer.go()
    }

    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        let mut request = self.client.loan_slice_uninit(source.len()).map_err(wrong)?;
        let mut rest = request.payload_mut();
        for piece in source.pieces() {
            let (to, after) = rest.split_at_mut(piece.len());
            to.write_copy_of_slice(piece);
            rest = after;
        }
        ensure!(rest.is_empty(), "the loaned slice is too long");
        // SAFETY: the pieces are all of the payload, and nothing of the slice is left.
        let mut request = unsafe { request.assume_init() };
        request.payload_mut()[..4].copy_from_slice(&stamp(ticket).to_le_bytes());
        self.pending
            .push_back((ticket, request.send().map_err(wrong)?));
        Ok(())
    }

    fn recv(&mut self) -> impl Future<Output = Result<Answer>> + Send {
        ready(self.take())
    }

    fn end(&mut self) -> Result<()> {
        let request = self.client.loan_slice_uninit(REST_BYTES).map_err(wrong)?;
        let request = request.write_from_slice(&[0; REST_BYTES]);
        let pending = request.send().map_err(wrong)?;
        spin(|| pending.receive().transpose())?
            .map(drop)
            .map_err(wrong)
    }
}

/// The peer: adds up each payload.
///
/// # Errors
/// If iceoryx2 cannot be set up, or the front side went away.
pub(crate) fn serve(shared: &PeerArgs) -> Result<()> {
    let service = shared.open()?;
    let server = service.factory.server_builder().create().map_err(wrong)?;
    say_ready()?;
    serve_bursts(|| {
        let mut answer = [0; ANSWER_BYTES];
        loop {
            let request = spin(|| server.receive().transpose())?.map_err(wrong)?;
            let rest = request.payload().len() == REST_BYTES;
            answer[..4].copy_from_slice(&sum(request.payload()).to_le_bytes());
            request.send_copy(answer).map_err(wrong)?;
            if rest {
                return Ok(());
            }
        }
    })
}
