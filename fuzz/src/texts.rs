//! Request bodies, schemas, endpoints, key files, and records of the store.

use std::cell::OnceCell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde::de::IgnoredAny;
use skysail_api::json::{JsonLimits, PredictBody, parse_predict, parse_update};
use skysail_control::Control;
use skysail_control::orchestrator::MemoryOrchestrator;
use skysail_control::store::{Change, MemoryStore, Revision, Store};
use skysail_core::Name;
use skysail_core::grants::Grant;
use skysail_core::input_type::InputType;
use skysail_rpc::keys::{PublicKey, SecretKey};
use skysail_rpc::payload::PayloadBuf;
use skysail_rpc::transport::zmq::check_endpoint;
use skysail_rpc::{DataType, TensorSpec};

use crate::script::Script;

/// Bounds that a short body can reach.
pub(crate) const NARROW: JsonLimits = JsonLimits {
    depth_max: 4,
    keys_max: 3,
    key_bytes_max: 16,
    numbers_max: 6,
    strings_max: 2,
    rows_max: 3,
    string_bytes_max: 8,
};

/// A body is read for each input type, or refused with a place inside of it. What is read is
/// within the limits, is JSON, and has only numbers that are some.
pub fn json(data: &[u8]) {
    let mut script = Script::new(data);
    let limits = if script.flag() {
        NARROW
    } else {
        JsonLimits::default()
    };
    let body = script.rest();
    for kind in InputType::ALL {
        match parse_predict(body, kind, Some(3), &limits, &PayloadBuf::default) {
            Ok(parsed) => check_body(&parsed, kind, &limits, body),
            Err(error) => {
                assert!(error.offset <= body.len(), "{error}");
                let _ = (error.to_string(), error.cause());
            }
        }
        match parse_update(body, kind, &limits) {
            Ok(_) => assert!(serde_json::from_slice::<IgnoredAny>(body).is_ok()),
            Err(error) => {
                assert!(error.offset <= body.len(), "{error}");
                let _ = error.feedback_text();
            }
        }
    }
}

fn check_body(parsed: &PredictBody, kind: InputType, limits: &JsonLimits, body: &[u8]) {
    assert!(parsed.rows.len() <= limits.rows_max);
    assert!(parsed.batch || parsed.rows.len() == 1);
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    assert!(is_json, "what is read is JSON");
    let mut numbers = 0;
    for row in &parsed.rows {
        match kind.datatype().and_then(DataType::width) {
            Some(width) => {
                assert_eq!(row.data.len(), row.elements * width);
                numbers += row.elements;
            }
            None => assert_eq!(row.elements, 1),
        }
        let finite = match kind.datatype() {
            Some(DataType::Fp32) => row
                .data
                .as_slice()
                .is_some_and(|all: &[f32]| all.iter().all(|x| x.is_finite())),
            Some(DataType::Fp64) => row
                .data
                .as_slice()
                .is_some_and(|all: &[f64]| all.iter().all(|x| x.is_finite())),
            Some(DataType::String) => std::str::from_utf8(row.data.as_bytes()).is_ok(),
            _ => true,
        };
        assert!(finite, "numbers and texts are some");
    }
    assert!(numbers <= limits.numbers_max);
}

/// A text is a tensor type or is not; one that is comes back as it is printed.
pub fn schema_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (name, text) = text.split_once(' ').unwrap_or(("x", &text));
    if let Ok(spec) = TensorSpec::parse(name, text) {
        let printed = spec.to_string();
        let (_, printed) = printed.split_at(name.len() + 2);
        assert_eq!(TensorSpec::parse(name, printed), Ok(spec.clone()));
        let _ = (spec.row_bytes(), spec.row_elements());
    }
    if let Some(kind) = InputType::parse(text) {
        assert_eq!(InputType::parse(kind.name()), Some(kind));
    }
    if let Ok(name) = Name::new(text) {
        assert_eq!(name.as_str(), text);
        assert!(text.len() <= skysail_rpc::limits::NAME_BYTES_MAX);
    }
}

/// An endpoint is one that can be bound or connected, or is refused.
pub fn endpoint(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match check_endpoint(&text) {
        Ok(()) => assert!(text.starts_with("ipc://") || text.starts_with("tcp://")),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A key file holds a key or does not, whoever may read it; its first line is the key.
pub fn keys(data: &[u8]) {
    let mut script = Script::new(data);
    let open = script.below(8) == 7;
    let content = script.rest();
    let text = std::str::from_utf8(content).ok();
    let public = text.and_then(|text| PublicKey::parse(text).ok());
    if let (Some(key), Some(text)) = (public, text) {
        let line = text.lines().next().unwrap_or_default();
        assert_eq!(key.to_string(), line.trim());
        assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
    }
    if let (Some(text), Ok(name)) = (text, Name::new("own"))
        && let Ok(grant) = Grant::parse(&name, text.lines())
    {
        let again = Grant::parse(&name, grant.to_string().lines());
        assert_eq!(again.ok(), Some(grant));
    }
    let read = read_files(content, open);
    assert_eq!(read, (public.is_some(), public.is_some() && !open));
}

/// Whether a file of this content holds a public key, and whether it may be used as a secret.
fn read_files(content: &[u8], open: bool) -> (bool, bool) {
    thread_local!(static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() });
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder"));
        let path = folder.path().join("a.key");
        std::fs::write(&path, content).expect("written");
        let mode = if open { 0o644 } else { 0o600 };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        let secret = SecretKey::read(&path);
        if let Ok(secret) = &secret {
            let _ = secret.public();
        }
        (PublicKey::read(&path).is_ok(), secret.is_ok())
    })
}

/// Records that somebody else wrote into the store are taken together, or one of them is named.
/// A line is a key, a blank, and its record.
pub fn store(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let put = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        let (key, value) = (key.to_owned(), value.as_bytes().to_vec());
        Some(Change::Put { key, value })
    };
    let changes: Vec<Change> = text.lines().filter_map(put).collect();
    let store = MemoryStore::new();
    if store.commit(Revision::default(), &changes).is_err() {
        return;
    }
    let store: Arc<dyn Store> = Arc::new(store);
    let orchestrator = Arc::new(MemoryOrchestrator::new());
    match Control::open(store, orchestrator, |_| {}) {
        Ok(control) => {
            let registry = control.registry();
            for model in registry.models.values() {
                assert!(!model.versions.is_empty());
                let mut named = model.current.iter().chain(&model.history);
                assert!(named.all(|version| model.versions.contains_key(version)));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
