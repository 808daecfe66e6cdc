//! Messages of a data channel, from the agent's side.
//!
//! Written from `agent/session/contracts/agentmessage.go` of github.com/aws/amazon-ssm-agent, and
//! from nothing of the program's: one misreading must not sit on both sides.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// `AgentMessage_PayloadLengthOffset`: the header's length does not count the payload's.
const HEADER_LENGTH: u32 = 116;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AgentMessage {
    /// Such as `input_stream_data`.
    pub(super) message_type: String,
    pub(super) sequence_number: i64,
    pub(super) flags: u64,
    pub(super) message_id: Uuid,
    pub(super) payload_type: u32,
    pub(super) payload: Bytes,
}

impl AgentMessage {
    pub(super) fn new(message_type: &str, sequence_number: i64) -> Self {
        Self {
            message_type: message_type.to_owned(),
            sequence_number,
            flags: 0,
            message_id: Uuid::new_v4(),
            payload_type: 0,
            payload: Bytes::new(),
        }
    }

    /// `Serialize`: integers big-endian, text filled with spaces, an id with its less significant
    /// half first.
    pub(super) fn serialize(&self, now: jiff::Timestamp) -> Bytes {
        let mut out = BytesMut::with_capacity(120 + self.payload.len());
        out.put_u32(HEADER_LENGTH);
        let name = self.message_type.as_bytes();
        out.put_slice(name);
        out.put_bytes(b' ', 32 - name.len().min(32));
        out.put_u32(1);
        out.put_i64(now.as_millisecond());
        out.put_i64(self.sequence_number);
        out.put_u64(self.flags);
        let (most, least) = self.message_id.as_u64_pair();
        out.put_u64(least);
        out.put_u64(most);
        out.put_slice(&Sha256::digest(&self.payload));
        out.put_u32(self.payload_type);
        out.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        out.put_slice(&self.payload);
        out.freeze()
    }

    /// `Deserialize` and `Validate`; the error is the agent's word for its log. It does not look at
    /// the digest: there are clients that send another one (npm's `ssm-session`).
    pub(super) fn deserialize(mut bytes: Bytes) -> Result<Self, &'static str> {
        let whole = bytes.clone();
        if bytes.len() < 120 {
            return Err("Offset is bigger than the byte array.");
        }
        let header_length = bytes.get_u32();
        let name = bytes.split_to(32);
        let name = String::from_utf8_lossy(&name);
        let message_type = name.trim_matches(['\0', ' ']).to_owned();
        bytes.advance(4);
        let created_date = bytes.get_u64();
        let sequence_number = bytes.get_i64();
        let flags = bytes.get_u64();
        let (least, most) = (bytes.get_u64(), bytes.get_u64());
        bytes.advance(32);
        let payload_type = bytes.get_u32();
        bytes.advance(4);
        let at = usize::try_from(header_length).unwrap_or(usize::MAX);
        if header_length == 0 {
            return Err("HeaderLength cannot be zero");
        }
        if at.saturating_add(4) > whole.len() {
            return Err("Offset is outside the byte array.");
        }
        let payload = whole.slice(at + 4..);
        if message_type.is_empty() {
            return Err("MessageType is missing");
        }
        if created_date == 0 {
            return Err("CreatedDate is missing");
        }
        Ok(Self {
            message_type,
            sequence_number,
            flags,
            message_id: Uuid::from_u64_pair(most, least),
            payload_type,
            payload,
        })
    }
}
