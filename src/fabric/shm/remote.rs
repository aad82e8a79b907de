//! Memory of the partner, mapped here, and the checks a NIC at its side would make.
//!
//! Imports `table`, `peer`, `mapping`, `words`. The check of an operation is a load of the key from the owner's table and comparisons.

use super::mapping::{SharedWord, Span};
use super::peer::{Denied, Wanted};
use super::table::ForeignTable;
use super::words::Word;
use crate::fabric::{AccessFlags, Remote, RemoteDescriptor};
use std::sync::Arc;

/// Memory of the partner, ready to be addressed from ports of the domain that imported it. Cloning counts a reference.
#[derive(Debug, Clone)]
pub struct ShmRemote {
    descriptor: RemoteDescriptor,
    /// What can really be reached: as long as the owner's table said, never longer than what is mapped.
    span: Option<Span>,
    /// Where the owner takes the key away.
    key_word: SharedWord,
    key: u64,
    access: AccessFlags,
    /// The owner's domain.
    domain: u64,
    _table: Option<Arc<ForeignTable>>,
}

impl ShmRemote {
    /// Memory that refuses every operation: what a descriptor that names nothing gives.
    pub(crate) fn nothing(descriptor: &RemoteDescriptor) -> Self {
        Self {
            descriptor: *descriptor,
            span: None,
            key_word: SharedWord::nothing(),
            // The word reads zero.
            key: u64::MAX,
            access: AccessFlags::NONE,
            domain: 0,
            _table: None,
        }
    }

    /// Maps what the descriptor names. `None` where its row is not (or no longer) in the table.
    pub(crate) fn map(table: &Arc<ForeignTable>, descriptor: &RemoteDescriptor) -> Result<Option<Self>, Denied> {
        let Some((row, key_word)) = table.row(descriptor.key) else { return Ok(None) };
        let writes = AccessFlags::REMOTE_WRITE.bits() | AccessFlags::REMOTE_ATOMIC.bits();
        let writable = row.access.bits() & writes != 0;
        let Ok(length) = usize::try_from(row.length) else { return Ok(None) };
        let mapping = table.peer().map(row.file, Wanted { writable, bytes_min: row.length })?;
        // The descriptor belonged to this row while it was opened only if the row is still there: an owner empties it before it closes.
        if key_word.load_acquire() != descriptor.key {
            return Ok(None);
        }
        let span = Span::new(&mapping, 0, length);
        let (key, access, domain) = (descriptor.key, row.access, table.token());
        let _table = Some(Arc::clone(table));
        Ok(Some(Self { descriptor: *descriptor, span, key_word, key, access, domain, _table }))
    }

    /// Whether it stands for any memory.
    pub(crate) fn is_mapped(&self) -> bool {
        self.span.is_some()
    }

    /// Whether `length` bytes at `offset` are within what the descriptor announces.
    #[inline]
    pub(crate) fn announces(&self, offset: u64, length: usize) -> bool {
        let total = self.descriptor.length;
        offset <= total && length as u64 <= total - offset
    }

    /// The memory, if an operation that needs `right` may go there from a port whose partner is in the domain `domain`, and the key still
    /// opens it.
    #[inline]
    pub(crate) fn open(&self, domain: u64, right: AccessFlags) -> Option<&Span> {
        let opens = self.key_word.load_acquire() == self.key;
        if opens && self.domain == domain && self.access.contains(right) { self.span.as_ref() } else { None }
    }
}

impl Remote for ShmRemote {
    #[inline]
    fn descriptor(&self) -> &RemoteDescriptor {
        &self.descriptor
    }
}
