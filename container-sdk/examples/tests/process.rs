//! The linear example as a process under a front end, over ZeroMQ.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_container::{Cell, ColumnBuilder, Payload};
use skysail_rpc::message::{Encoder, Hello, Message, Reject, RejectReason, Tensors};
use skysail_rpc::session::{BatchResult, FrontendEvent, FrontendSession, Timing};
use skysail_rpc::transport::zmq::ZmqListener;
use skysail_rpc::transport::{Incoming, Listener, PeerId};

/// Longer than any machine is slow.
const LONG: Duration = Duration::from_secs(600);

/// A directory with a socket and the weights, all of them 0.5.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let weights = format!("[{}]", ["[.5,.5,.5,.5,.5,.5,.5,.5,.5,.5]"; 784].join(","));
        let weights = weights.replace(".5", "0.5");
        std::fs::write(directory.path().join("w.json"), weights).expect("written");
        Place(directory)
    }

    fn endpoint(&self) -> String {
        format!("ipc://{}/rpc.sock", self.0.path().display())
    }

    fn start(&self) -> Child {
        let mut command = Command::new(linear());
        command.args([
            "--model",
            "linear",
            "--version",
            "3",
            "--rpc",
            &self.endpoint(),
        ]);
        command
            .arg("--path")
            .arg(self.0.path())
            .env("RUST_LOG", "warn");
        command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example runs")
    }
}

/// Cargo builds the example before it runs the tests, beside their own directory.
fn linear() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    profile.join("examples/linear")
}

/// A front end with one container.
struct Frontend {
    listener: ZmqListener,
    session: FrontendSession,
    peer: Option<PeerId>,
}

impl Frontend {
    fn new(place: &Place) -> Self {
        let listener = ZmqListener::bind(&[place.endpoint()]).expect("a new socket");
        let timing = Timing {
            heartbeat: LONG,
            silence: LONG,
            handshake: LONG,
            stuck: LONG,
        };
        Frontend {
            listener,
            session: FrontendSession::new(Instant::now(), timing),
            peer: None,
        }
    }

    async fn hello(&mut self) -> Hello {
        loop {
            if let FrontendEvent::Hello(hello) = self.event().await {
                return *hello;
            }
        }
    }

    async fn welcome(&mut self) {
        let hello = self.hello().await;
        assert_eq!(
            (hello.model.as_str(), hello.version.as_str()),
            ("linear", "3")
        );
        let schema = Arc::new(hello.schema.clone());
        let welcome = self.session.accept(Instant::now(), &hello, schema, 1, None);
        self.say(&welcome);
    }

    /// The scores of one image of ones.
    async fn scores(&mut self, spec: &skysail_container::TensorSpec) -> Vec<f32> {
        let mut rows = ColumnBuilder::new(spec, 1);
        rows.push(&Cell::fixed(Payload::copy_from_slice(
            &1.0_f32.to_le_bytes().repeat(784),
        )));
        let parts = rows.finish();
        let (_, message) =
            self.session
                .predict(Instant::now(), 1, LONG, parts.parts(0).collect::<Tensors>());
        self.say(&message);
        loop {
            if let FrontendEvent::Reply { result, .. } = self.event().await {
                let BatchResult::Ok { columns, .. } = result else {
                    panic!("ok, not {result:?}")
                };
                return columns[0].as_slice::<f32>().expect("floats").to_vec();
            }
        }
    }

    async fn event(&mut self) -> FrontendEvent {
        loop {
            match self.listener.try_recv() {
                None => self.listener.readable().await.expect("the socket is open"),
                // One that it gave up before it said anything, and tried again.
                Some(Incoming::Closed { peer }) if self.peer != Some(peer) => {}
                Some(Incoming::Closed { .. }) => panic!("the container closed the connection"),
                Some(Incoming::Frame { peer, frame, .. }) => {
                    self.peer = Some(peer);
                    let message = Message::decode(&frame).expect("a message");
                    let event = self.session.on_message(Instant::now(), message);
                    return event.expect("the container follows the protocol");
                }
            }
        }
    }

    fn say(&mut self, message: &Message) {
        let peer = self.peer.expect("somebody has connected");
        let frame = Encoder::default().encode(message);
        self.listener
            .send(peer, &frame)
            .expect("the container listens");
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test)
}

/// The exit status, and what it said on standard error.
fn end(mut container: Child) -> (Option<i32>, String) {
    let status = container.wait().expect("it ends");
    let mut told = String::new();
    container
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut told)
        .expect("UTF-8");
    (status.code(), told)
}

/// What the container tells and how it exits when its hello is refused.
fn refused(reason: RejectReason) -> (Option<i32>, String) {
    let place = Place::new();
    let container = place.start();
    run(async {
        let mut frontend = Frontend::new(&place);
        frontend.hello().await;
        frontend.say(&Message::Reject(Reject {
            reason,
            detail: "a test".into(),
        }));
        while !matches!(frontend.listener.try_recv(), Some(Incoming::Closed { .. })) {
            frontend
                .listener
                .readable()
                .await
                .expect("the socket is open");
        }
    });
    end(container)
}

#[test]
fn survives_a_restart_of_the_front_end_and_leaves_when_asked() {
    let place = Place::new();
    let container = place.start();
    run(async {
        let spec = skysail_container::TensorSpec::parse("x", "f32[784]").expect("valid");
        for _ in 0..2 {
            let mut frontend = Frontend::new(&place);
            frontend.welcome().await;
            assert_eq!(frontend.scores(&spec).await, [392.0; 10]);
        }
        let mut frontend = Frontend::new(&place);
        frontend.welcome().await;
        let kill = Command::new("kill")
            .arg(container.id().to_string())
            .status();
        assert!(kill.expect("kill").success());
        while !matches!(frontend.event().await, FrontendEvent::Drain { .. }) {}
        frontend.say(&Message::Drain {
            detail: "drained".into(),
        });
        assert_eq!(end(container).0, Some(0));
    });
}

/// PROTOCOL 4.8
#[test]
fn a_refused_container_says_why_and_what_to_do() {
    let (code, told) = refused(RejectReason::BadToken);
    assert_eq!(code, Some(2), "{told}");
    let (code, told) = refused(RejectReason::WrongSchema);
    assert_eq!(code, Some(2), "{told}");
    let expected = "linear:3 has ended: another schema than the version's: a test; \
                    serve the registered signature, or register a new version\n";
    assert!(told.ends_with(expected), "{told}");
    assert_eq!(refused(RejectReason::Removed).0, Some(0));
}
