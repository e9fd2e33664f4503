//! Every limit on what a peer may send, each checked before anything is allocated for it.

use std::time::Duration;

/// Bytes of one header frame.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Payload frames of one message.
pub const FRAMES_MAX: usize = 96;
/// Part descriptors of one message: at most three a tensor.
pub const PARTS_MAX: usize = 3 * TENSORS_MAX;
/// Bytes of one message, header and payload frames together.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Input tensors of a schema, and output tensors of a schema.
pub const TENSORS_MAX: usize = 32;
/// Dimensions of one row of a tensor.
pub const RANK_MAX: usize = 8;
/// Bytes of a model's, version's or application's name.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of a tensor's name.
pub const TENSOR_NAME_BYTES_MAX: usize = 255;
/// Bytes of an error text or a drain's detail; longer ones are cut when they are sent.
pub const TEXT_BYTES_MAX: usize = 1 << 10;
/// Bytes of a join token.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Bytes of a key file, with what it says besides the key.
pub const KEY_FILE_BYTES_MAX: usize = 64 << 10;
/// Rows of one batch.
pub const BATCH_ROWS_MAX: u32 = 1 << 16;
/// Batches in flight in one session.
pub const SLOTS_MAX: u16 = 64;
/// Nesting of a Cap'n Proto header.
pub const HEADER_NESTING_MAX: i32 = 32;

/// A side that has sent nothing for this long sends a heartbeat.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// A peer that has sent nothing for this long is dead.
pub const SILENCE: Duration = Duration::from_secs(3);
/// A peer that has connected must have said hello, or been answered, by then.
pub const HANDSHAKE: Duration = Duration::from_secs(5);

const _: () = assert!(FRAMES_MAX >= PARTS_MAX && PARTS_MAX <= u16::MAX as usize);
const _: () = assert!(SILENCE.as_millis() > 2 * HEARTBEAT.as_millis());
