//! C interface of the text bridge (declared in ../../bridge.h): ownership of results, and the guard that turns errors and panics into messages.

mod chat_filters;
mod template;
mod tokenizer;

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Bytes owned by Rust; given back with `evb_text_free`.
#[repr(C)]
pub struct EvbText {
    data: *mut u8,
    size: usize,
}

/// Token ids owned by Rust; given back with `evb_ids_free`.
#[repr(C)]
pub struct EvbIds {
    data: *mut u32,
    size: usize,
}

fn leak<T>(items: Vec<T>) -> (*mut T, usize) {
    let boxed = items.into_boxed_slice();
    let size = boxed.len();
    (Box::into_raw(boxed).cast::<T>(), size)
}

unsafe fn unleak<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)));
    }
}

/// # Safety
/// `out` is null or valid for writing, and holds nothing that still needs freeing.
pub(crate) unsafe fn write_text(out: *mut EvbText, text: String) {
    if !out.is_null() {
        let (data, size) = leak(text.into_bytes());
        *out = EvbText { data, size };
    }
}

/// # Safety
/// As `write_text`.
pub(crate) unsafe fn write_ids(out: *mut EvbIds, ids: Vec<u32>) {
    if !out.is_null() {
        let (data, size) = leak(ids);
        *out = EvbIds { data, size };
    }
}

/// # Safety
/// `data` is valid for reading `size` elements (or `size` is 0).
pub(crate) unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// # Safety
/// As `slice`.
pub(crate) unsafe fn text<'a>(data: *const u8, size: usize) -> Result<&'a str, String> {
    std::str::from_utf8(slice(data, size)).map_err(|error| format!("text is not valid UTF-8 after byte {}", error.valid_up_to()))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let words = payload.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("internal failure of the text library: {words}")
}

/// Runs `body`; an `Err` or a panic becomes a message in `error` and `None`.
///
/// # Safety
/// `error` is null or valid for writing.
pub(crate) unsafe fn guarded<T>(error: *mut EvbText, body: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let message = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(message)) => message,
        Err(payload) => panic_message(payload.as_ref()),
    };
    write_text(error, message);
    None
}

/// # Safety
/// `value` was filled by this library and is not used again.
#[no_mangle]
pub unsafe extern "C" fn evb_text_free(value: EvbText) {
    unleak(value.data, value.size);
}

/// # Safety
/// As `evb_text_free`.
#[no_mangle]
pub unsafe extern "C" fn evb_ids_free(value: EvbIds) {
    unleak(value.data, value.size);
}

/// Panics inside the guard, so that a test can see that a panic ends as an error message.
///
/// # Safety
/// `error` is null or valid for writing.
#[no_mangle]
pub unsafe extern "C" fn evb_panic_for_test(error: *mut EvbText) -> bool {
    guarded(error, || -> Result<(), String> { panic!("on purpose") }).is_some()
}
