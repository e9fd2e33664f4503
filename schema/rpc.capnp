# Headers of the container RPC. Clause numbers refer to PROTOCOL.md.
#
# A message is a multipart ZeroMQ message (or its equal on another transport): one header
# frame that holds a `Message`, then the payload frames that its `Part`s name. Bulk data
# never stands in the header.

@0xd2a5c8f1b96e4073;

struct Message {
  union {
    hello @0 :Hello;          # container -> front end, first message of a session
    welcome @1 :Welcome;      # front end -> container, accepts the hello
    reject @2 :Reject;        # front end -> container, refuses the hello or ends the session
    predict @3 :Predict;      # front end -> container
    reply @4 :Reply;          # container -> front end
    cancel @5 :Cancel;        # front end -> container
    heartbeat @6 :Heartbeat;  # both
    drain @7 :Drain;          # both
    path @8 :Path;            # container -> front end, after a welcome with an offer
  }
}

enum DataType {
  bool @0;
  uint8 @1;
  uint16 @2;
  uint32 @3;
  uint64 @4;
  int8 @5;
  int16 @6;
  int32 @7;
  int64 @8;
  fp16 @9;
  bf16 @10;
  fp32 @11;
  fp64 @12;
  bytes @13;   # opaque byte strings of any length
  string @14;  # the same, each valid UTF-8
}

struct TensorSpec {
  name @0 :Text;
  dataType @1 :DataType;
  dims @2 :List(Int64);  # of one row, without the batch dimension; -1 is variable
}

struct Hello {
  protocolMin @0 :UInt16;
  protocolMax @1 :UInt16;
  sdk @2 :Text;                      # such as "rust/0.1.0"
  model @3 :Text;
  version @4 :Text;
  inputs @5 :List(TensorSpec);
  outputs @6 :List(TensorSpec);
  maxBatch @7 :UInt32;               # rows in one batch, at least 1
  slots @8 :UInt16;                  # batches in flight at once, at least 1
  token @9 :Data;                    # the join token; may be empty over ipc
  pid @10 :UInt32;                   # of the container, 0 where it has no meaning
  host @11 :Text;                    # boot id of its kernel; empty: no shared memory wanted
  spinMicros @12 :UInt32;            # how long it may spin for a batch before it sleeps
}

struct Welcome {
  protocol @0 :UInt16;               # the version in use from here on
  replica @1 :UInt64;                # the id that the front end shows for this session
  heartbeatMicros @2 :UInt64;        # send one after this long without sending anything
  silenceMicros @3 :UInt64;          # the peer is dead after this long without a message
  socket @4 :Text;                   # control socket for shared memory; empty: none is offered
  nonce @5 :Data;                    # to be shown there, 16 bytes
}

enum RejectReason {
  protocolVersion @0;   # no version in common
  badToken @1;
  badHello @2;          # names, schema, max batch or slots out of bounds
  wrongSchema @3;       # differs from the registered input type or from the other replicas
  tooManyReplicas @4;
  removed @5;           # the version was removed; do not come back
  violation @6;         # the peer broke the protocol
  overloaded @7;        # try again later
}

struct Reject {
  reason @0 :RejectReason;
  detail @1 :Text;
}

enum PartKind {
  data @0;      # elements, row after row
  offsets @1;   # uint64; where each row (or each byte string) starts, and the end
  shapes @2;    # uint32; the variable dims of each row
}

struct Part {
  tensor @0 :UInt16;       # index into the schema's inputs (predict) or outputs (reply)
  kind @1 :PartKind;
  dataType @2 :DataType;   # of the elements in this part
  frame @3 :UInt16;        # payload frame that holds the part, 0 is the first after the header
  offset @4 :UInt64;       # byte offset in that frame
  bytes @5 :UInt64;
  shape @6 :List(Int64);   # with the batch dimension first; -1 where rows differ
}

struct Predict {
  batch @0 :UInt64;             # unique in the session, ascending
  rows @1 :UInt32;
  remainingMicros @2 :UInt64;   # until the last deadline of the batch, when it was sent
  parts @3 :List(Part);
}

enum Outcome {
  ok @0;
  failed @1;      # the whole batch; `error` says why
  cancelled @2;   # was not computed, because of a cancel
  expired @3;     # was not computed, because its deadline had passed
}

struct RowError {
  row @0 :UInt32;
  error @1 :Text;
}

struct Reply {
  batch @0 :UInt64;
  outcome @1 :Outcome;
  error @2 :Text;
  rows @3 :UInt32;               # rows answered; equal to the predict's when the outcome is ok
  parts @4 :List(Part);
  rowErrors @5 :List(RowError);  # rows of an ok batch that failed on their own, ascending
  computeMicros @6 :UInt64;      # inside the model
}

struct Cancel {
  batch @0 :UInt64;
}

struct Heartbeat {
  batchesDone @0 :UInt64;   # progress: batches answered in this session
}

struct Drain {
  detail @0 :Text;   # why, for the log
}

struct Path {
  shared @0 :Bool;   # batches travel through shared memory
  detail @1 :Text;   # why not, if not
}
