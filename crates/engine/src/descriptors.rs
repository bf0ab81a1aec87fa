//! File descriptors that Python has by their numbers. The one place with `unsafe`: nobody but the caller can know what a number stands
//! for, and no safe function takes it.

use crate::error::bad_setting;
use pyo3::prelude::*;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A duplicate of one; the caller keeps its own.
#[allow(unsafe_code, reason = "a descriptor's number is all that Python can give")]
pub(crate) fn duplicate(role: &str, number: RawFd) -> PyResult<OwnedFd> {
    let bad = |reason: String| bad_setting("sockets", format!("{role}: {number} is no file descriptor: {reason}"));
    if number < 0 {
        return Err(bad("it is negative".to_owned()));
    }
    // SAFETY: it isn't -1, and is looked at in this call alone, during which the caller keeps it open; if it is closed nevertheless,
    // the system says so.
    let given = unsafe { BorrowedFd::borrow_raw(number) };
    given.try_clone_to_owned().map_err(|error| bad(error.to_string()))
}
