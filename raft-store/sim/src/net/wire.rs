//! Listens to what goes over the wire, and changes it where a bug is planted.

use bytes::{BufMut, Bytes, BytesMut};
use kontiki_proto::raft as proto;
use prost::Message as _;
use store_api::NodeId;

use crate::facts::{Fact, Message};
use crate::plant::{Miscount, Plant};

/// Compressed or not, and the length, before every gRPC message.
const PREFIX_BYTES: usize = 5;

/// What one frame says, as it goes on.
pub(super) fn listen(
    path: &str,
    request: bool,
    from: NodeId,
    to: NodeId,
    frame: Bytes,
    (plant, miscount): (Option<Plant>, &mut Miscount),
    facts: &mut Vec<Fact>,
) -> Bytes {
    if !path.ends_with("/AppendEntries") && !path.ends_with("Vote") {
        return frame;
    }
    let Some(messages) = split(&frame) else { return frame };
    let mut sent = BytesMut::with_capacity(frame.len());
    for message in messages {
        let Some(mut message) = decode(path, request, message) else { return frame };
        if let Some(plant) = plant {
            plant.on_the_wire(from, to, &mut message);
        }
        let mut heard = message.clone();
        if plant == Some(Plant::AnyPrefix) {
            miscount.hear(from, to, &mut heard);
        }
        encode(&heard, &mut sent);
        // What is only asked for binds nobody.
        if !path.ends_with("/PreVote") {
            let forged = plant.and_then(|plant| plant.forges(from, to, &message));
            facts.extend([Fact::Sent { from, to, message }].into_iter().chain(forged));
        }
    }
    sent.freeze()
}

/// The messages of a frame, which tonic never splits.
fn split(frame: &Bytes) -> Option<Vec<Bytes>> {
    let (mut messages, mut rest) = (Vec::new(), frame.clone());
    while !rest.is_empty() {
        let length = rest.get(1..PREFIX_BYTES)?;
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        let mut message = rest.split_to((PREFIX_BYTES + length).min(rest.len()));
        if message.len() != PREFIX_BYTES + length {
            return None;
        }
        messages.push(message.split_off(PREFIX_BYTES));
    }
    Some(messages)
}

fn decode(path: &str, request: bool, bytes: Bytes) -> Option<Message> {
    let append = path.ends_with("/AppendEntries");
    match (append, request) {
        (true, true) => proto::AppendRequest::decode(bytes).ok().map(Message::Append),
        (true, false) => proto::AppendResponse::decode(bytes).ok().map(Message::Appended),
        (false, true) => proto::VoteRequest::decode(bytes).ok().map(Message::Vote),
        (false, false) => proto::VoteResponse::decode(bytes).ok().map(Message::Voted),
    }
}

fn encode(message: &Message, out: &mut BytesMut) {
    let bytes = match message {
        Message::Append(message) => message.encode_to_vec(),
        Message::Appended(message) => message.encode_to_vec(),
        Message::Vote(message) => message.encode_to_vec(),
        Message::Voted(message) => message.encode_to_vec(),
    };
    out.put_u8(0);
    out.put_u32(bytes.len() as u32);
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_goes_on_as_it_was() {
        let messages = [
            proto::AppendRequest { entries: vec![Bytes::from("a"), Bytes::from("bc")], ..Default::default() },
            proto::AppendRequest::default(),
        ];
        let mut frame = BytesMut::new();
        messages.iter().for_each(|message| encode(&Message::Append(message.clone()), &mut frame));
        let frame = frame.freeze();
        let mut facts = Vec::new();
        let (mut one, mut two) = (Miscount::default(), Miscount::default());
        let (none, again) = ((None, &mut one), (None, &mut two));
        let sent = listen("/kontiki.raft.v1.Raft/AppendEntries", true, 1, 2, frame.clone(), none, &mut facts);
        assert_eq!((sent, facts.len()), (frame.clone(), 2));
        assert_eq!(listen("/x/Forward", true, 1, 2, frame.clone(), again, &mut facts), frame);
        assert_eq!(facts.len(), 2);
        assert_eq!(split(&frame.slice(..frame.len() - 1)), None);
    }
}
