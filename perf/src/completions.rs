//! Completions that must be good, on any fabric: a failed one ends the measurement.

use handfast::fabric::{Completion, Port};
use handfast::memory::Buffer;
use std::error::Error;

/// Takes the completion of the one operation that is outstanding: its buffer, if it had one.
#[inline(always)]
pub(crate) fn complete<const N: usize>(
    port: &mut impl Port,
    into: &mut [Completion; N],
) -> Result<Option<Buffer>, Box<dyn Error>> {
    crate::control::spin(|| port.poll(&mut into[..1]) == 1)?;
    checked(&mut into[0])
}

/// The buffer of a completion that must be good.
#[inline(always)]
pub(crate) fn checked(completion: &mut Completion) -> Result<Option<Buffer>, Box<dyn Error>> {
    if completion.is_success() { Ok(completion.buffer.take()) } else { Err(failed(completion)) }
}

#[cold]
fn failed(completion: &Completion) -> Box<dyn Error> {
    format!("{:?} ended as {}", completion.operation, completion.status).into()
}

/// What [`checked`] gives where there must be a buffer.
#[inline(always)]
pub(crate) fn held(buffer: Option<Buffer>) -> Result<Buffer, Box<dyn Error>> {
    buffer.ok_or_else(|| "a completion came without its buffer".into())
}
