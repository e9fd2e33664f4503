//! Panics of a library, as errors.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// What `work` gives, or what it panicked with. Nothing is printed of it.
///
/// The process's panic hook is away meanwhile: this is for a program's start, when no other thread
/// runs yet.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    set_hook(hook);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("an unknown panic").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        assert_eq!(quietly(|| 7), Ok(7));
        let number = 3;
        let told = quietly(|| panic!("no {number}"));
        assert_eq!(told, Err::<(), _>("no 3".into()));
    }
}
