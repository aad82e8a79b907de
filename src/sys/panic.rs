//! Panics in what a user handed in, kept from what is beside it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls it. Where it panics: the panic's message. Whatever it left half done is the caller's to drop.
///
/// The panic's hook has told of it by then. Where panics abort, this changes nothing.
pub(crate) fn contain<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let message = message(&*payload);
        discard(payload);
        message
    })
}

/// Drops what a panic carried. That is the user's too, and may panic in turn, with a payload of its
/// own: what does so again and again is leaked in the end.
#[cold]
fn discard(payload: Box<dyn Any + Send>) {
    const TRIES: u32 = 8;
    let mut payload = payload;
    for _ in 0..TRIES {
        match catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

#[cold]
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it left no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics when it is dropped, with another of its kind.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::resume_unwind(Box::new(Bomb(self.0 - 1)));
            }
        }
    }

    #[test]
    fn what_a_panic_carries_may_panic_in_turn() {
        for depth in [1, 3, 1000] {
            let bomb = move || std::panic::resume_unwind(Box::new(Bomb(depth)));
            assert_eq!(contain(bomb), Err::<(), _>("it left no message".to_owned()));
        }
    }

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(contain(|| 7), Ok(7));
        assert_eq!(contain(|| std::panic::resume_unwind(Box::new("short"))), Err::<(), _>("short".to_owned()));
        let long = || std::panic::resume_unwind(Box::new(format!("number {}", 7)));
        assert_eq!(contain(long), Err::<(), _>("number 7".to_owned()));
        assert_eq!(contain(|| std::panic::resume_unwind(Box::new(7))), Err::<(), _>("it left no message".to_owned()));
    }
}
