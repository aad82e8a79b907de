//! Letters: what two nodes tell each other once a session stands, by WRITEs into each other's mailbox.
//!
//! Body first, header after it, on the same port; the header carries the body's checksum, so a letter that has not wholly arrived is
//! none yet.

use crate::fabric::{Domain, Fabric, FabricError, Port, WorkRequest};
use crate::handshake::Established;
use crate::memory::{Buffer, Region};
use crate::page::NodeId;
use crate::page::mailbox::{LETTER_BYTES, Letter, LetterKind};
use crate::session::dialling::{Dialled, LETTER_ID};

/// Why a letter in the mailbox cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LetterError {
    /// Its hash is not made with this session's key.
    #[error("a letter of the partner carries a wrong proof")]
    Proof,
}

/// WRITEs a letter over the dialled link. Allocates and registers a buffer; control path only.
pub(crate) fn send<F: Fabric>(
    up: &mut Dialled<F>,
    sender: &NodeId,
    established: &Established,
    (kind, round): (LetterKind, u64),
    body: &[u8],
) -> Result<(), FabricError> {
    if body.len() > kind.body_bytes_max() {
        return Err(FabricError::Exhausted {
            what: "bytes of client tables",
            max: kind.body_bytes_max() as u64,
            whole: "letter",
        });
    }
    let header = Letter {
        kind,
        session: established.id,
        round,
        length: body.len() as u32,
        body_checksum: crc32c::crc32c(body),
        proof: established.key.letter(sender, kind, round, body),
    };
    up.letter_buffers.clear();
    let (body_buffer, header_buffer) = buffers(up, body, &header.encode())?;
    let Some((_, mailbox)) = &up.link.mailbox else { return Ok(()) };
    let lost = |reason: crate::fabric::PostError| FabricError::LinkLost {
        address: "the partner".to_owned(),
        detail: reason.to_string(),
    };
    if let Some(buffer) = body_buffer {
        up.link
            .port
            .post_write(WorkRequest::signalled(LETTER_ID), buffer, mailbox, kind.body_offset() as u64)
            .map_err(|refused| lost(refused.reason))?;
        up.letters += 1;
    }
    up.link
        .port
        .post_write(WorkRequest::signalled(LETTER_ID), header_buffer, mailbox, kind.header_offset() as u64)
        .map_err(|refused| lost(refused.reason))?;
    up.letters += 1;
    Ok(())
}

fn buffers<F: Fabric>(
    up: &Dialled<F>,
    body: &[u8],
    header: &[u8; LETTER_BYTES],
) -> Result<(Option<Buffer>, Buffer), FabricError> {
    let region = Region::builder(LETTER_BYTES + body.len()).pinned(false).build()?;
    let whole = up.link.domain.buffer(region)?;
    let (mut header_buffer, rest) = whole.split_at(LETTER_BYTES);
    header_buffer.as_mut_slice().copy_from_slice(header);
    if body.is_empty() {
        return Ok((None, header_buffer));
    }
    let (mut body_buffer, _) = rest.split_at(body.len());
    body_buffer.as_mut_slice().copy_from_slice(body);
    Ok((Some(body_buffer), header_buffer))
}

/// The letter of this kind, round and session in a mailbox; none while it has not wholly arrived.
pub(crate) fn receive(
    mailbox: &Region,
    sender: &NodeId,
    established: &Established,
    (kind, round): (LetterKind, u64),
) -> Result<Option<Vec<u8>>, LetterError> {
    let mut header = [0; LETTER_BYTES];
    if mailbox.read(kind.header_offset(), &mut header).is_err() {
        return Ok(None);
    }
    let Ok(letter) = Letter::decode(kind, &header) else { return Ok(None) };
    if letter.session != established.id || letter.round != round {
        return Ok(None);
    }
    // `decode` has bounded the length by the letter's place.
    let mut body = vec![0; letter.length as usize];
    if mailbox.read(kind.body_offset(), &mut body).is_err() || crc32c::crc32c(&body) != letter.body_checksum {
        return Ok(None);
    }
    if !established.key.verify_letter(sender, (kind, round), &body, letter.proof) {
        return Err(LetterError::Proof);
    }
    Ok(Some(body))
}
