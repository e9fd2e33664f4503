//! A message's frames to and from libzmq, without a copy where that is possible.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use skysail_memory::copies::{self, Copied};

use crate::limits::FRAMES_MAX;
use crate::message::Frame;
use crate::payload::Payload;
use crate::transport::SendError;

/// Payloads up to this size are copied into the message: cheaper than counting references.
pub const COPY_BYTES_MAX: usize = 1024;

/// The header and payloads of the next message, without a copy where they are aligned.
/// Payload frames past the limit are dropped unseen; decoding then refuses the message.
pub(super) fn receive_frame(
    socket: &zmq::Socket,
    look: impl FnOnce(&mut zmq::Message),
) -> Option<Frame> {
    let mut message = zmq::Message::new();
    socket.recv(&mut message, zmq::DONTWAIT).ok()?;
    look(&mut message);
    let mut more = message.get_more();
    let mut frame = Frame {
        header: Payload::from_unaligned(Received(message)),
        ..Frame::default()
    };
    while more {
        let mut message = zmq::Message::new();
        // The parts of a message arrive together, so this does not wait.
        socket.recv(&mut message, zmq::DONTWAIT).ok()?;
        more = message.get_more();
        if frame.payloads.len() <= FRAMES_MAX {
            frame.payloads.push(Payload::from_owner(Received(message)));
        }
    }
    Some(frame)
}

struct Received(zmq::Message);

// SAFETY: a received message is only read, and libzmq frees it from any thread.
unsafe impl Sync for Received {}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

pub(super) fn send_frame(socket: &mut zmq::Socket, frame: &Frame) -> zmq::Result<()> {
    let flags = |more: bool| zmq::DONTWAIT | if more { zmq::SNDMORE } else { 0 };
    let last = frame.payloads.len();
    socket.send(frame.header.as_bytes(), flags(last > 0))?;
    for (index, payload) in (1..).zip(&frame.payloads) {
        send_payload(socket, payload, flags(index < last))?;
    }
    Ok(())
}

fn send_payload(socket: &mut zmq::Socket, payload: &Payload, flags: c_int) -> zmq::Result<()> {
    if payload.len() <= COPY_BYTES_MAX {
        copies::record(Copied::SmallFrame, payload.len());
        return socket.send(payload.as_bytes(), flags);
    }
    let owner = Box::into_raw(Box::new(payload.clone()));
    let data = payload.as_bytes().as_ptr().cast_mut().cast::<c_void>();
    let mut message = MaybeUninit::<zmq_sys::zmq_msg_t>::uninit();
    // SAFETY: `data` is valid for `len` bytes as long as `owner`, a clone of the payload,
    // lives, and `release` is called once, when libzmq needs it no longer. libzmq only reads.
    let made = unsafe {
        let (message, release) = (
            message.as_mut_ptr(),
            Some(release as unsafe extern "C" fn(_, _)),
        );
        zmq_sys::zmq_msg_init_data(message, data, payload.len(), release, owner.cast())
    };
    if made != 0 {
        // SAFETY: libzmq did not take the owner, which came from `Box::into_raw` above.
        drop(unsafe { Box::from_raw(owner) });
        return Err(last_error());
    }
    // SAFETY: the message was initialised above, the socket is open and used by this thread
    // alone.
    let sent = unsafe { zmq_sys::zmq_msg_send(message.as_mut_ptr(), socket.as_mut_ptr(), flags) };
    if sent >= 0 {
        return Ok(());
    }
    let error = last_error();
    // SAFETY: a message that was not sent is still ours to close, which releases the owner.
    unsafe { zmq_sys::zmq_msg_close(message.as_mut_ptr()) };
    Err(error)
}

/// Called by libzmq, on any of its threads, when it has no further use for a payload.
unsafe extern "C" fn release(_data: *mut c_void, owner: *mut c_void) {
    // SAFETY: `owner` came from `Box::into_raw` of a `Payload`, and libzmq calls this once.
    drop(unsafe { Box::from_raw(owner.cast::<Payload>()) });
}

fn last_error() -> zmq::Error {
    // SAFETY: zmq_errno only reads this thread's number.
    zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })
}

pub(super) fn send_error(error: zmq::Error) -> SendError {
    if error == zmq::Error::EAGAIN {
        SendError::Full
    } else {
        SendError::Gone
    }
}
