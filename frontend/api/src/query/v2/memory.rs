//! System shared memory that clients registered: tensors come from there, and go there.
//!
//! Off unless the operator names the objects that may be used. An object is read and written by
//! its descriptor, and never mapped: a client that cuts it short gets an error, and cannot end
//! this process.
//!
//! # Invariants
//! - An object is opened only if its name is allowed, and beneath no directory but `/dev/shm`.
//! - A region that was unregistered is neither read nor written afterwards: unregistering waits
//!   for requests that use it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use skysail_rpc::PayloadBuf;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::error::{Kind, V2Error};
use super::request::RegionSlice;

/// Where the system keeps what `shm_open` opens.
const OBJECTS: &str = "/dev/shm";
/// Regions of all clients.
const REGIONS_MAX: usize = 1024;

/// What a client says when it registers.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::query) struct Registration {
    /// The name of the object, with its slash.
    pub(in crate::query) key: String,
    #[serde(default)]
    pub(in crate::query) offset: usize,
    pub(in crate::query) byte_size: usize,
}

/// A region, as its status tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::query) struct RegionStatus {
    pub(in crate::query) name: String,
    pub(in crate::query) key: String,
    pub(in crate::query) offset: usize,
    pub(in crate::query) byte_size: usize,
}

/// A region of an object.
#[derive(Debug)]
struct Region {
    file: File,
    key: String,
    offset: usize,
    bytes: usize,
}

/// A region that is in use until this is dropped.
#[derive(Debug)]
pub(in crate::query) struct Held(OwnedRwLockReadGuard<Region>);

/// The regions of all clients. Cheap to clone; the same ones behind every clone.
#[derive(Clone, Debug)]
pub(in crate::query) struct Regions {
    allowed: Arc<[String]>,
    by_name: Arc<Mutex<BTreeMap<String, Arc<RwLock<Region>>>>>,
}

impl Regions {
    /// Regions of objects with these names, or beginning with those that end in `*`.
    pub(in crate::query) fn new(allowed: &[String]) -> Regions {
        Regions {
            allowed: allowed.into(),
            by_name: Arc::default(),
        }
    }

    /// Whether any object may be used.
    pub(in crate::query) fn is_on(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Registers a region.
    ///
    /// # Errors
    /// If its object may not be used, is not there, is too short, or the name is taken.
    pub(in crate::query) fn register(
        &self,
        name: &str,
        wanted: Registration,
    ) -> Result<(), V2Error> {
        let file = self.open(&wanted.key)?;
        let end = wanted.offset.checked_add(wanted.byte_size);
        let there = file.metadata().map_or(0, |metadata| metadata.len());
        if end.is_none_or(|end| end as u64 > there) || wanted.byte_size == 0 {
            return Err(V2Error::invalid(format!(
                "the region ends beyond its object, or is empty: offset {}, {} bytes, the object has {there}",
                wanted.offset, wanted.byte_size
            )));
        }
        let mut regions = self.lock();
        if regions.contains_key(name) {
            let message = format!(
                "shared memory region '{}' is registered already",
                name.escape_default()
            );
            return Err(V2Error::new(Kind::AlreadyExists, message));
        }
        if regions.len() >= REGIONS_MAX {
            return Err(V2Error::invalid(format!(
                "there are {REGIONS_MAX} regions, at most so many allowed"
            )));
        }
        let region = Region {
            file,
            key: wanted.key,
            offset: wanted.offset,
            bytes: wanted.byte_size,
        };
        regions.insert(name.to_owned(), Arc::new(RwLock::new(region)));
        Ok(())
    }

    /// Forgets a region, or all; returns when no request uses it any more.
    pub(in crate::query) async fn unregister(&self, name: Option<&str>) {
        let gone: Vec<_> = match name {
            Some(name) => self.lock().remove(name).into_iter().collect(),
            None => std::mem::take(&mut *self.lock()).into_values().collect(),
        };
        for region in gone {
            drop(region.write().await);
        }
    }

    /// The regions, or one of them.
    ///
    /// # Errors
    /// If that one is not registered.
    pub(in crate::query) async fn status(
        &self,
        name: Option<&str>,
    ) -> Result<Vec<RegionStatus>, V2Error> {
        let regions: Vec<_> = self
            .lock()
            .iter()
            .filter(|(known, _)| name.is_none_or(|name| name == *known))
            .map(|(known, region)| (known.clone(), region.clone()))
            .collect();
        if let (Some(name), true) = (name, regions.is_empty()) {
            return Err(unknown(name));
        }
        let mut status = Vec::with_capacity(regions.len());
        for (name, region) in regions {
            let region = region.read().await;
            status.push(RegionStatus {
                name,
                key: region.key.clone(),
                offset: region.offset,
                byte_size: region.bytes,
            });
        }
        Ok(status)
    }

    /// Holds the region of a slice until the request is done.
    ///
    /// # Errors
    /// If it is not registered, or too short.
    pub(in crate::query) fn hold(&self, slice: &RegionSlice) -> Result<Held, V2Error> {
        if !self.is_on() {
            return Err(off());
        }
        let region = self.lock().get(&slice.region).cloned();
        let region = region.ok_or_else(|| unknown(&slice.region))?;
        // Gone for whoever comes while it is being unregistered: to wait here with another hold on
        // it would be for ever.
        let held = region
            .try_read_owned()
            .map_err(|_| unknown(&slice.region))?;
        let held = Held(held);
        let end = slice.offset.checked_add(slice.bytes);
        if end.is_none_or(|end| end > held.0.bytes) {
            return Err(V2Error::invalid(format!(
                "region '{}' has {} bytes, the tensor wants {} from {}",
                slice.region, held.0.bytes, slice.bytes, slice.offset
            )));
        }
        Ok(held)
    }

    fn open(&self, key: &str) -> Result<File, V2Error> {
        if !self.is_on() {
            return Err(off());
        }
        let name = key.strip_prefix('/').unwrap_or_default();
        let is_name =
            !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        let is_allowed = |pattern: &String| {
            let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
            match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            }
        };
        // One message for both, so that nobody learns what else is there.
        let refused =
            || V2Error::invalid("the key is not a shared memory object that clients may use");
        if !is_name || !self.allowed.iter().any(is_allowed) {
            return Err(refused());
        }
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed());
        let file = options.open(Path::new(OBJECTS).join(name));
        let file = file.map_err(|_| refused())?;
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file { Ok(file) } else { Err(refused()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RwLock<Region>>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The bytes of a slice that it was held for.
    ///
    /// # Errors
    /// If the object is shorter than it was.
    pub(in crate::query) fn read(&self, slice: &RegionSlice) -> Result<PayloadBuf, V2Error> {
        let mut data = PayloadBuf::zeroed(slice.bytes);
        let at = (self.0.offset + slice.offset) as u64;
        let read = self.0.file.read_exact_at(data.as_bytes_mut(), at);
        read.map_err(|error| cut(slice, &error))?;
        Ok(data)
    }

    /// Writes a tensor to the slice that it was held for.
    ///
    /// # Errors
    /// If it does not fit.
    pub(in crate::query) fn write(&self, slice: &RegionSlice, bytes: &[u8]) -> Result<(), V2Error> {
        if bytes.len() > slice.bytes {
            return Err(V2Error::invalid(format!(
                "the output has {} bytes, its place in region '{}' {}",
                bytes.len(),
                slice.region,
                slice.bytes
            )));
        }
        let at = (self.0.offset + slice.offset) as u64;
        let there = self.0.file.metadata().map_or(0, |metadata| metadata.len());
        if at + bytes.len() as u64 > there {
            // A write would make the object longer.
            return Err(cut(slice, &"it is shorter than it was"));
        }
        let written = self.0.file.write_all_at(bytes, at);
        written.map_err(|error| cut(slice, &error))
    }
}

fn cut(slice: &RegionSlice, why: &dyn std::fmt::Display) -> V2Error {
    V2Error::invalid(format!("region '{}' cannot be used: {why}", slice.region))
}

fn unknown(name: &str) -> V2Error {
    let name = name.escape_default();
    V2Error::invalid(format!("shared memory region '{name}' is not registered"))
}

fn off() -> V2Error {
    V2Error::unsupported(
        "shared memory of clients is off; the operator allows objects by --client-shm NAME",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object of the system, removed in the end.
    struct Object(String);

    impl Object {
        fn new(name: &str, bytes: &[u8]) -> Object {
            let name = format!("skysail-test-{}-{name}", std::process::id());
            std::fs::write(Path::new(OBJECTS).join(&name), bytes).expect("written");
            Object(name)
        }

        fn key(&self) -> String {
            format!("/{}", self.0)
        }

        fn path(&self) -> std::path::PathBuf {
            Path::new(OBJECTS).join(&self.0)
        }

        fn whole(&self, bytes: usize) -> Registration {
            Registration {
                key: self.key(),
                offset: 0,
                byte_size: bytes,
            }
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            drop(std::fs::remove_file(self.path()));
        }
    }

    fn regions() -> Regions {
        Regions::new(&["skysail-test-*".to_owned()])
    }

    fn slice(offset: usize, bytes: usize) -> RegionSlice {
        RegionSlice {
            region: "r".to_owned(),
            offset,
            bytes,
        }
    }

    #[tokio::test]
    async fn tensors_are_read_and_written_inside_their_region() {
        let (object, regions) = (Object::new("inside", b"0123456789"), regions());
        let registration = Registration {
            offset: 2,
            ..object.whole(6)
        };
        regions.register("r", registration).expect("allowed");
        let held = regions.hold(&slice(1, 3)).expect("inside");
        assert_eq!(held.read(&slice(1, 3)).expect("there").as_bytes(), b"345");
        held.write(&slice(1, 3), b"ab").expect("room");
        assert_eq!(std::fs::read(object.path()).expect("there"), b"012ab56789");
        assert!(held.write(&slice(1, 3), b"abcd").is_err());
        for beyond in [slice(4, 3), slice(usize::MAX, 2), slice(0, 7)] {
            assert!(regions.hold(&beyond).is_err(), "{beyond:?}");
        }
        let again = regions.register("r", object.whole(1)).expect_err("taken");
        assert_eq!(again.kind, Kind::AlreadyExists);
    }

    #[tokio::test]
    async fn an_object_that_was_cut_short_is_an_error() {
        let (object, regions) = (Object::new("cut", &[7; 64]), regions());
        regions.register("r", object.whole(64)).expect("allowed");
        let held = regions.hold(&slice(0, 64)).expect("inside");
        std::fs::write(object.path(), b"").expect("cut");
        assert!(held.read(&slice(0, 64)).is_err());
        assert!(held.write(&slice(0, 64), &[1; 64]).is_err());
        assert_eq!(std::fs::metadata(object.path()).expect("there").len(), 0);
    }

    #[tokio::test]
    async fn only_allowed_objects_are_opened() {
        let object = Object::new("allowed", &[0; 8]);
        let link = Path::new(OBJECTS).join(format!("skysail-test-link-{}", std::process::id()));
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("a link");
        let linked = format!("/{}", link.file_name().expect("a name").to_string_lossy());
        for key in [
            "",
            "/",
            "skysail-test-x",
            "/../etc/passwd",
            "/skysail-test-a/b",
            "/other",
            &linked,
        ] {
            let registration = Registration {
                key: key.to_owned(),
                ..object.whole(1)
            };
            assert!(regions().register("r", registration).is_err(), "{key}");
        }
        std::fs::remove_file(link).expect("removed");
        let off = Regions::new(&[])
            .register("r", object.whole(8))
            .expect_err("off");
        assert_eq!(off.kind, Kind::Unsupported);
        assert!(
            regions().register("r", object.whole(9)).is_err(),
            "too long"
        );
        assert!(regions().register("r", object.whole(0)).is_err(), "empty");
    }

    #[tokio::test]
    async fn unregistering_waits_for_requests_that_use_the_region() {
        let (object, regions) = (Object::new("held", &[0; 8]), regions());
        regions.register("r", object.whole(8)).expect("allowed");
        assert_eq!(regions.status(None).await.expect("all").len(), 1);
        let held = regions.hold(&slice(0, 8)).expect("inside");
        let all = regions.clone();
        let mut unregister = Box::pin(async move { all.unregister(None).await });
        let waits = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(unregister.as_mut().poll(cx).is_pending())
        });
        assert!(waits.await);
        assert!(regions.hold(&slice(0, 8)).is_err(), "it is gone for others");
        drop(held);
        unregister.await;
        assert!(regions.status(Some("r")).await.is_err());
        assert_eq!(regions.status(None).await, Ok(vec![]));
    }
}
