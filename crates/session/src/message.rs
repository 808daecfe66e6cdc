//! The binary messages of a data channel: packs and unpacks them.
//!
//! Source: `message/clientmessage.go` and `message/messageparser.go` of
//! github.com/aws/session-manager-plugin. Numbers are big-endian. The header is 116 bytes, then the
//! payload's length, then the payload.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What stands before the payload's length.
const HEADER: usize = 116;
const TYPE: std::ops::Range<usize> = 4..36;
const CREATED: std::ops::Range<usize> = 40..48;
const SEQUENCE: std::ops::Range<usize> = 48..56;
const FLAGS: std::ops::Range<usize> = 56..64;
const ID: std::ops::Range<usize> = 64..80;
const DIGEST: std::ops::Range<usize> = 80..112;
const PAYLOAD_TYPE: std::ops::Range<usize> = 112..116;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From the client to the agent.
    Input,
    /// From the agent to the client.
    Output,
    /// Of one message of the other side.
    Acknowledge,
    /// The session is over.
    Closed,
    /// The agent's side listens.
    Start,
    /// The agent's side does not listen for now.
    Pause,
}

impl Kind {
    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Input => "input_stream_data",
            Self::Output => "output_stream_data",
            Self::Acknowledge => "acknowledge",
            Self::Closed => "channel_closed",
            Self::Start => "start_publication",
            Self::Pause => "pause_publication",
        }
    }

    fn of(name: &str) -> Option<Self> {
        let all = [
            Self::Input,
            Self::Output,
            Self::Acknowledge,
            Self::Closed,
            Self::Start,
            Self::Pause,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a payload is (`PayloadType`).
pub(crate) mod payload {
    /// Bytes for or from the program.
    pub(crate) const OUTPUT: u32 = 1;
    /// The terminal's size.
    pub(crate) const SIZE: u32 = 3;
    /// The agent asks for what it needs before it begins.
    pub(crate) const HANDSHAKE_REQUEST: u32 = 5;
    /// The answer to that.
    pub(crate) const HANDSHAKE_RESPONSE: u32 = 6;
    /// The agent begins.
    pub(crate) const HANDSHAKE_COMPLETE: u32 = 7;
    /// The agent wants to see the key at work.
    pub(crate) const CHALLENGE: u32 = 8;
    /// A number that means an action.
    pub(crate) const FLAG: u32 = 10;
    /// What a program without a terminal prints to standard error; agents since 3.1 where the
    /// session's document asks for it, which ECS's does not.
    pub(crate) const STDERR: u32 = 11;
    /// How such a program ended.
    pub(crate) const EXIT_CODE: u32 = 12;
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) sequence: i64,
    /// Bit 0: the stream begins with this one. Bit 1: it ends with it.
    pub(crate) flags: u64,
    pub(crate) id: Uuid,
    /// One of [`payload`], 0 where it is no stream's.
    pub(crate) payload_type: u32,
    pub(crate) payload: Bytes,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a message of {0} bytes is shorter than its header")]
    Short(usize),
    #[error("a header of {0} bytes is not known")]
    Header(u32),
    #[error("a message of the type `{0}` is not known")]
    Kind(String),
    #[error("a payload is not what its digest says")]
    Digest,
}

impl Message {
    /// A new one, with an id of its own.
    pub(crate) fn new(kind: Kind, sequence: i64, payload_type: u32, payload: Bytes) -> Self {
        Self {
            kind,
            sequence,
            flags: 0,
            id: Uuid::new_v4(),
            payload_type,
            payload,
        }
    }

    /// As it goes over the wire, made now.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER + 4];
        out[..4].copy_from_slice(&116_u32.to_be_bytes());
        let name = self.kind.name().as_bytes();
        out[TYPE].fill(b' ');
        out[TYPE][..name.len()].copy_from_slice(name);
        out[36..40].copy_from_slice(&1_u32.to_be_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        out[CREATED].copy_from_slice(&now.to_be_bytes());
        out[SEQUENCE].copy_from_slice(&self.sequence.to_be_bytes());
        out[FLAGS].copy_from_slice(&self.flags.to_be_bytes());
        out[ID].copy_from_slice(&swapped(*self.id.as_bytes()));
        out[DIGEST].copy_from_slice(&Sha256::digest(&self.payload));
        out[PAYLOAD_TYPE].copy_from_slice(&self.payload_type.to_be_bytes());
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out[HEADER..].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.payload);
        out
    }

    /// What came over the wire. The header says its own length: a longer one has members that are
    /// not known, before the payload's length.
    pub(crate) fn unpack(bytes: &Bytes) -> Result<Self, Malformed> {
        if bytes.len() < HEADER {
            return Err(Malformed::Short(bytes.len()));
        }
        let header = number(bytes, 0);
        let at = usize::try_from(header).unwrap_or(usize::MAX);
        if at < HEADER {
            return Err(Malformed::Header(header));
        }
        // Some senders fill with zeros, others with spaces.
        let name = String::from_utf8_lossy(&bytes[TYPE]);
        let name = name.trim_matches(['\0', ' ']);
        let kind = Kind::of(name).ok_or_else(|| Malformed::Kind(name.to_owned()))?;
        let rest = bytes.len().saturating_sub(at.saturating_add(4));
        let payload = match rest {
            0 => Bytes::new(),
            _ => bytes.slice(at + 4..),
        };
        // The plugin checks no digest of a message without a payload, nor of the two that say
        // whether the other side listens.
        let silent = payload.is_empty() || matches!(kind, Kind::Start | Kind::Pause);
        if !silent && bytes[DIGEST] != Sha256::digest(&payload)[..] {
            return Err(Malformed::Digest);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[ID]);
        Ok(Self {
            kind,
            sequence: long(bytes, SEQUENCE).cast_signed(),
            flags: long(bytes, FLAGS),
            id: Uuid::from_bytes(swapped(id)),
            payload_type: number(bytes, PAYLOAD_TYPE.start),
            payload,
        })
    }
}

/// The less significant half of an id stands first.
fn swapped(id: [u8; 16]) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&id[8..]);
    out[8..].copy_from_slice(&id[..8]);
    out
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

fn long(bytes: &[u8], range: std::ops::Range<usize>) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[range]);
    u64::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static [u8]) -> Message {
        Message {
            kind: Kind::Output,
            sequence: 7,
            flags: 1,
            id: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            payload_type: payload::OUTPUT,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn a_message_comes_back_as_it_was_packed() {
        for payload in [&b""[..], b"x", &[0, 255, 10, 13]] {
            let sent = message(payload);
            let packed = Bytes::from(sent.pack());
            assert_eq!(packed.len(), 120 + payload.len());
            assert_eq!(Message::unpack(&packed), Ok(sent));
        }
    }

    #[test]
    fn each_member_stands_where_the_plugin_has_it() {
        let packed = message(b"hello").pack();
        assert_eq!(packed[..4], [0, 0, 0, 116]);
        assert_eq!(&packed[4..36], b"output_stream_data              ");
        assert_eq!(packed[36..40], [0, 0, 0, 1]);
        assert_eq!(packed[48..56], [0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(packed[56..64], [0, 0, 0, 0, 0, 0, 0, 1]);
        // The halves are swapped.
        assert_eq!(packed[64..68], [0x88, 0x99, 0xaa, 0xbb]);
        assert_eq!(packed[72..76], [0x00, 0x11, 0x22, 0x33]);
        assert_eq!(packed[80..84], [0x2c, 0xf2, 0x4d, 0xba]);
        assert_eq!(packed[112..120], [0, 0, 0, 1, 0, 0, 0, 5]);
        assert_eq!(&packed[120..], b"hello");
    }

    #[test]
    fn a_longer_header_and_a_type_filled_with_zeros_are_understood() {
        let mut packed = message(b"hello").pack();
        packed[22..36].fill(0);
        packed[3] = 120;
        packed.splice(116..116, [9, 9, 9, 9]);
        let read = Message::unpack(&packed.into()).unwrap();
        assert_eq!(read, message(b"hello"));
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        let bad = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packed = message(b"hello").pack();
            change(&mut packed);
            Message::unpack(&packed.into()).unwrap_err()
        };
        assert_eq!(bad(&|it| it.truncate(100)), Malformed::Short(100));
        assert_eq!(bad(&|it| it[3] = 4), Malformed::Header(4));
        assert_eq!(bad(&|it| it[120] = b'H'), Malformed::Digest);
        assert_eq!(bad(&|it| it.truncate(122)), Malformed::Digest);
        let unknown = bad(&|it| it[4] = b'0');
        assert_eq!(unknown, Malformed::Kind("0utput_stream_data".into()));
    }
}
