//! The protobuf wire format itself: reading fields within bounds, and writing from the end.

pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const DELIMITED: u32 = 2;
const GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED32: u32 = 5;

/// Groups within each other in what is skipped.
const MAX_GROUPS: u32 = 100;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// No field of ours is of this kind: only skipped.
    Other,
}

impl<'a> Payload<'a> {
    pub(crate) fn varint(self) -> Result<u64, String> {
        match self {
            Payload::Varint(number) => Ok(number),
            _ => Err("proto: wrong wireType for a number".to_owned()),
        }
    }
    pub(crate) fn fixed64(self) -> Result<u64, String> {
        match self {
            Payload::Fixed64(number) => Ok(number),
            _ => Err("proto: wrong wireType for a float".to_owned()),
        }
    }
    pub(crate) fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err("proto: wrong wireType for a message or text".to_owned()),
        }
    }
    pub(crate) fn text(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "proto: text is not valid UTF-8".to_owned())
    }
}

/// Reads the fields of one message.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; `None` at the end. Groups are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (tag, wire) = self.key()?;
        match wire {
            GROUP => self.skip_group()?,
            END_GROUP => return Err("proto: wiretype end group for non-group".to_owned()),
            _ => return Ok(Some((tag, self.payload(wire)?))),
        }
        Ok(Some((tag, Payload::Other)))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err(if self.0.len() < 10 { end() } else { "proto: integer overflow".to_owned() })
    }

    fn key(&mut self) -> Result<(u32, u32), String> {
        let key = self.varint()?;
        match u32::try_from(key >> 3) {
            Ok(tag) if tag > 0 => Ok((tag, (key & 7) as u32)),
            _ => Err(format!("proto: illegal tag {}", key >> 3)),
        }
    }

    fn payload(&mut self, wire: u32) -> Result<Payload<'a>, String> {
        Ok(match wire {
            VARINT => Payload::Varint(self.varint()?),
            FIXED64 => Payload::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| end())?)),
            DELIMITED => {
                let length = self.varint()?;
                Payload::Bytes(self.take(usize::try_from(length).map_err(|_| end())?)?)
            }
            FIXED32 => {
                self.take(4)?;
                Payload::Other
            }
            other => return Err(format!("proto: illegal wireType {other}")),
        })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(end)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip_group(&mut self) -> Result<(), String> {
        let mut open = 1;
        while open > 0 {
            match self.key()?.1 {
                GROUP if open == MAX_GROUPS => return Err("proto: groups are too deep".to_owned()),
                GROUP => open += 1,
                END_GROUP => open -= 1,
                wire => drop(self.payload(wire)?),
            }
        }
        Ok(())
    }
}

fn end() -> String {
    "unexpected EOF".to_owned()
}

/// The bytes of a number and how many they are.
fn varint(mut number: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    loop {
        bytes[length] = number as u8 & 0x7f | if number > 0x7f { 0x80 } else { 0 };
        length += 1;
        number >>= 7;
        if number == 0 {
            return (bytes, length);
        }
    }
}

pub(crate) fn push_varint(out: &mut Vec<u8>, number: u64) {
    let (bytes, length) = varint(number);
    out.extend_from_slice(&bytes[..length]);
}

pub(crate) fn push_key(out: &mut Vec<u8>, tag: u32, wire: u32) {
    push_varint(out, u64::from(tag << 3 | wire));
}

/// Writes from the end to the beginning, so that the length of a message is known when it is written, which is
/// before the message. Fields, elements and entries are therefore given last first.
pub(crate) struct Backwards {
    buffer: Vec<u8>,
    /// Where what is written begins; it goes on to the end.
    begin: usize,
}

/// Room that is made at once, at least.
const ROOM: usize = 256;

impl Backwards {
    /// With room for so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self { buffer: vec![0; bytes], begin: bytes }
    }
    pub(crate) fn written(&self) -> &[u8] {
        &self.buffer[self.begin..]
    }
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.begin < bytes.len() {
            self.grow(bytes.len());
        }
        let end = self.begin;
        self.begin -= bytes.len();
        self.buffer[self.begin..end].copy_from_slice(bytes);
    }
    /// Makes room for so many bytes, and as many again as there are then.
    fn grow(&mut self, bytes: usize) {
        let written = self.mark();
        let mut larger = Self::with_room((written + bytes).max(ROOM) * 2);
        larger.begin -= written;
        larger.buffer[larger.begin..].copy_from_slice(self.written());
        *self = larger;
    }
    pub(crate) fn number(&mut self, tag: u32, number: u64) {
        self.varint(number);
        self.key(tag, VARINT);
    }
    pub(crate) fn fixed64(&mut self, tag: u32, number: u64) {
        self.bytes(&number.to_le_bytes());
        self.key(tag, FIXED64);
    }
    pub(crate) fn text(&mut self, tag: u32, text: &[u8]) {
        let end = self.mark();
        self.bytes(text);
        self.delimit(tag, end);
    }
    /// Where the message that is written next ends, for [`Self::delimit`].
    pub(crate) fn mark(&self) -> usize {
        self.buffer.len() - self.begin
    }
    /// Makes a field of all that was written since `end`.
    pub(crate) fn delimit(&mut self, tag: u32, end: usize) {
        self.varint((self.mark() - end) as u64);
        self.key(tag, DELIMITED);
    }
    fn varint(&mut self, number: u64) {
        let (bytes, length) = varint(number);
        self.bytes(&bytes[..length]);
    }
    fn key(&mut self, tag: u32, wire: u32) {
        self.varint(u64::from(tag << 3 | wire));
    }
}
